"""Tables in a document's text: a row in each line, with " | " between its cells."""

from __future__ import annotations

import re
from collections.abc import Sequence

CELL_END = " | "
_NUMBER = re.compile(r"\d")
_YEAR = re.compile(r"\s*(?:19|20)\d{2}\s*年?\s*")


def header_of(rows: Sequence[str]) -> str:
    """The first row of a table if it names the columns, else "".

    It does if it has no number where other rows have, or if nothing has: a table without a header
    is mostly one of a name and a value, whose first value is not a word alone.
    """
    if len(rows) < 2:
        return ""
    first, *rest = ([_has_number(cell) for cell in row.split(CELL_END)] for row in rows)
    if sum(first) > len(first) / 2:
        return ""
    numbered = [
        column
        for column in range(len(first))
        if sum(any(row[column : column + 1]) for row in rest) > len(rest) / 2
    ]
    columns = numbered or range(len(first))
    return "" if any(first[column] for column in columns) else rows[0]


def _has_number(cell: str) -> bool:
    """Whether a cell has a number; a year names a column more often than it fills it."""
    return bool(_NUMBER.search(cell)) and not _YEAR.fullmatch(cell)


def read_row(header: str, row: str) -> str:
    """A row with the names of its columns: "Name: Anna; Extension: 4417"."""
    cells = [cell.strip() for cell in row.split(CELL_END)]
    names = [name.strip() for name in header.split(CELL_END)] if header else []
    if len(names) != len(cells):
        return "; ".join(filter(None, cells))
    pairs = zip(names, cells, strict=True)
    return "; ".join(f"{name}: {cell}" if name else cell for name, cell in pairs if cell)
