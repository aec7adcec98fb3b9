"""Rows of CSV files, read on after a quote that is never closed."""

from __future__ import annotations

import csv
import io
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moli.records.errors import InputError
from moli.records.examples import MalformedRow, UnreadLines
from moli.workspace.datasets.fields import Row

_DELIMITERS = ",;\t|"
# Share of the lines after an open quote that must be whole rows if they are to be read as such.
_WHOLE_ROWS = 0.9


@dataclass(frozen=True, slots=True)
class _Record:
    """The cells of one record, or the fault that makes its lines unreadable.

    Attributes:
        start: index of its first line.
        lines: number of its lines.
    """

    start: int
    lines: int
    cells: list[str]
    fault: str = ""


def read_csv(path: Path, text: str, delimiter: str) -> Iterator[Row | MalformedRow]:
    """Rows of a table.

    Args:
        delimiter: the character between cells; "" if it is to be detected from the header.

    Raises:
        InputError: two columns have the same name, or the header cannot be read.
    """
    csv.field_size_limit(sys.maxsize)
    lines = list(io.StringIO(text, newline=""))
    first = 0
    if lines and lines[0].lower().startswith("sep="):  # written by and for spreadsheets
        delimiter, first = lines[0][4:5].strip("\r\n") or delimiter, 1
    header_line = next((line for line in lines[first:] if line.strip()), "")
    delimiter = delimiter or max(_DELIMITERS, key=header_line.count)
    names: list[str] = []
    for record in _records(lines, first, delimiter):
        where = f"{path}:{record.start + 1}"
        if record.fault:
            if not names:
                raise InputError(f"not CSV ({record.fault})", where, "Correct the header.")
            yield _unread(where, record)
        elif not any(map(str.strip, record.cells)):
            continue  # a blank line, or the empty cells that spreadsheets leave below a table
        elif not names:
            names = _column_names(record.cells, where)
        elif len(record.cells) == len(names):
            yield Row(where, dict(zip(names, record.cells, strict=True)))
        else:
            yield MalformedRow(
                where,
                f"{len(record.cells)} cells under {len(names)} columns",
                f"Put texts that contain '{delimiter}' or a line break in double quotes.",
            )


def _column_names(cells: Sequence[str], where: str) -> list[str]:
    """Names of the columns, without spaces around them; one without a name has its number.

    Raises:
        InputError: two columns have the same name.
    """
    names = [cell.strip() or f"column {number}" for number, cell in enumerate(cells, 1)]
    if repeated := {name for name in names if names.count(name) > 1}:
        raise InputError(
            f"duplicate column '{sorted(repeated)[0]}'", where, "Give each column its own name."
        )
    return names


def _unread(where: str, record: _Record) -> UnreadLines:
    """The report of lines that are no rows."""
    return UnreadLines(
        where,
        f"not CSV (a quote does not match: {record.fault})",
        'Close the quote; write a quote inside as "".',
        record.lines,
    )


def _records(lines: Sequence[str], start: int, delimiter: str) -> Iterator[_Record]:
    """The records of a text from a line on, the first of which is the header.

    After a fault, reading goes on at the next line if the lines that the open quote had swallowed
    are whole rows, and otherwise behind them, for then they may be the lines of one text.
    """
    width, after_fault = 0, False
    while start < len(lines):
        reader = _reader(lines, start, delimiter)
        at = start
        try:
            for cells in reader:
                end = start + reader.line_num
                if after_fault and "".join(lines[at:end]).count('"') % 2:
                    yield _Record(at, end - at, [], "the end of a text whose quotes do not match")
                else:
                    after_fault = False
                    width = width or len(cells)
                    yield _Record(at, end - at, cells)
                at = end
            return
        except csv.Error as error:
            end = start + reader.line_num
            if not _are_rows(lines, at + 1, end, delimiter, width):
                yield _Record(at, end - at, [], str(error))
                start = end
            else:
                yield _Record(at, 1, [], str(error))
                start = at + 1
            after_fault = True


def _are_rows(lines: Sequence[str], start: int, end: int, delimiter: str, width: int) -> bool:
    """Whether nearly all lines from start to end are rows of a table with this many columns.

    In a table of one column any line could be a row, or part of a text.
    """
    if start >= end:
        return True
    if width < 2:
        return False
    whole = 0
    for number in range(start, end):
        try:
            whole += len(next(_reader(lines[number : number + 1], 0, delimiter))) == width
        except (csv.Error, StopIteration):
            continue
    return whole >= _WHOLE_ROWS * (end - start)


def _reader(lines: Sequence[str], start: int, delimiter: str) -> Any:
    """A reader of the lines from one on, which refuses quotes that do not match."""
    rest = (lines[number] for number in range(start, len(lines)))
    return csv.reader(rest, delimiter=delimiter, strict=True)
