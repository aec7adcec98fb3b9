"""Tables among the cells of a sheet, and numbers as cells show them, for all workbook formats."""

import datetime
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

from moli.parsing.blocks import Blocks

Row = dict[int, str]  # Column from 0 -> text of a cell that is not empty.
Rows = dict[int, Row]  # Row number -> its cells, in ascending order.

_MAX_SPAN = 1000
_DEFAULT_NAME = re.compile(r"(sheet|工作表|feuil|tabelle|hoja|シート)\s*\d*$", re.IGNORECASE)
# Quoted text, colours and escapes in a number format, which do not tell its kind.
_DECORATION = re.compile(r'"[^"]*"|\[[^\]]*\]|\\.|_.')
_ELAPSED = re.compile(r"\[(h+|m+|s+)\]", re.IGNORECASE)
_DATE_LIMIT = 2_958_466  # The day after 9999-12-31.

EPOCH_1900 = datetime.datetime(1899, 12, 30)
EPOCH_1904 = datetime.datetime(1904, 1, 1)


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
        for cells in table:
            if len(cells) == 1:
                blocks.add_row(cells.values())  # A title or a note, not a row of the table.
            else:
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


@dataclass(frozen=True, slots=True)
class NumberFormat:
    """The way in which a cell shows its number.

    Attributes:
        kind: `elapsed` is a length of time, such as 30:15 hours.
        decimals: number of decimals of a percentage.
        unit: largest unit of an elapsed time: h, m or s.
        has_seconds: whether an elapsed time shows seconds.
    """

    kind: Literal["number", "percent", "date", "elapsed"] = "number"
    decimals: int = 0
    unit: str = ""
    has_seconds: bool = False


def number_format(code: str) -> NumberFormat:
    """The format that a format code such as `0.0%` or `yyyy-mm-dd` describes."""
    first = code.partition(";")[0]
    bare = _DECORATION.sub("", first).lower()
    if "%" in bare:
        return NumberFormat("percent", len(bare.partition("%")[0].partition(".")[2]))
    if elapsed := _ELAPSED.search(first):
        unit = elapsed[1][0].lower()
        return NumberFormat("elapsed", unit=unit, has_seconds=unit == "s" or "s" in bare)
    is_date = "general" not in bare and bool(set("ymdhs") & set(bare))
    return NumberFormat("date" if is_date else "number")


def format_number(number: float, shown: NumberFormat, epoch: datetime.datetime) -> str:
    """A number as its cell shows it: as a percentage, a date, a time, or with up to 15 digits."""
    if shown.kind == "date" and 0 <= number < _DATE_LIMIT:
        return _format_date(number, epoch)
    if shown.kind == "elapsed" and 0 <= number < _DATE_LIMIT:
        return _format_elapsed(number, shown)
    if shown.kind == "percent":
        return f"{number * 100:.{shown.decimals}f}%"
    short = f"{number:.15g}"
    return (
        str(int(number)) if "e" in short and abs(number) < 1e21 and number == int(number) else short
    )


def _format_date(days: float, epoch: datetime.datetime) -> str:
    """A date, a time of day if there is no date, or both."""
    moment = epoch + datetime.timedelta(seconds=round(days * 86_400))
    if days < 1:
        return moment.strftime("%H:%M:%S")
    midnight = moment.hour == moment.minute == moment.second == 0
    return moment.strftime("%Y-%m-%d") if midnight else moment.strftime("%Y-%m-%d %H:%M:%S")


def _format_elapsed(days: float, shown: NumberFormat) -> str:
    """A length of time in its largest unit and the smaller ones shown."""
    seconds = round(days * 86_400)
    if shown.unit == "s":
        return str(seconds)
    rest = f":{seconds % 60:02d}" if shown.has_seconds else ""
    minutes = seconds // 60
    return f"{minutes}{rest}" if shown.unit == "m" else f"{minutes // 60}:{minutes % 60:02d}{rest}"
