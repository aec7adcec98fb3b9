"""Tables among the cells of a sheet, for all workbook formats."""

import re
from collections.abc import Iterator
from itertools import pairwise

from moli.parsing.blocks import Blocks

Row = dict[int, str]  # Column from 0 -> text of a cell that is not empty.
Rows = dict[int, Row]  # Row number -> its cells, in ascending order.

_MAX_SPAN = 1000
_DEFAULT_NAME = re.compile(r"(sheet|工作表|feuil|tabelle|hoja|シート)\s*\d*$", re.IGNORECASE)


def add_sheet_name(name: str, blocks: Blocks) -> None:
    """Add the name of a sheet as a heading, unless it is one that programs give by default."""
    if not _DEFAULT_NAME.match(name):
        blocks.add_heading(name, 1)


def repeat_merged(rows: Rows, top: int, bottom: int, column: int) -> None:
    """Copy a merged cell into the rows below that it spans, so that each is complete in itself."""
    text = rows.get(top, {}).get(column, "")
    if not text or bottom - top > _MAX_SPAN:
        return
    for number in range(top + 1, bottom + 1):
        if rows.get(number):
            rows[number][column] = text


def add_tables(rows: Rows, blocks: Blocks) -> None:
    """Add the cells of a sheet as tables."""
    for table in _tables(rows):
        columns = sorted({column for cells in table for column in cells})
        blocks.end_group()
        in_table = False
        for cells in table:
            if len(cells) == 1 and not (in_table and columns[0] not in cells):
                blocks.add_row(cells.values())  # A title or a note, not a row of the table.
            else:
                in_table = True
                blocks.add_row(cells.get(column, "") for column in columns)
        blocks.end_group()


def _tables(rows: Rows) -> Iterator[list[Row]]:
    """Tables separated by empty rows, and those side by side separated by empty columns."""
    table: list[Row] = []
    previous = 0
    for number, cells in rows.items():
        if table and (not cells or number > previous + 1):
            yield from _split_at_empty_columns(table)
            table = []
        if cells:
            table.append(cells)
        previous = number
    if table:
        yield from _split_at_empty_columns(table)


def _split_at_empty_columns(table: list[Row]) -> Iterator[list[Row]]:
    """The tables side by side in `table`; `table` itself if its parts are not all dense."""
    columns = sorted({column for cells in table for column in cells})
    gaps = [right for left, right in pairwise(columns) if right > left + 1]
    parts = []
    for start, end in zip([columns[0], *gaps], [*gaps, columns[-1] + 1], strict=True):
        part = [
            {column: text for column, text in cells.items() if start <= column < end}
            for cells in table
        ]
        parts.append([cells for cells in part if cells])
    if len(parts) > 1 and all(_is_dense(part) for part in parts):
        yield from parts
    else:
        yield table  # A form, whose labels and values stand apart.


def _is_dense(table: list[Row]) -> bool:
    """Whether cells fill a rectangle of at least two by two."""
    columns = {column for cells in table for column in cells}
    filled = sum(len(cells) for cells in table)
    return min(len(table), len(columns)) > 1 and filled > 0.8 * len(table) * len(columns)
