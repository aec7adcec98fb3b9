"""Data files to rows, each with its origin; unreadable rows are reported, never dropped."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Iterator
from pathlib import Path

from moli.records.errors import InputError
from moli.records.examples import MalformedRow
from moli.workspace.datasets.arrow_rows import read_arrow
from moli.workspace.datasets.class_names import class_names_in, with_class_names
from moli.workspace.datasets.csv_rows import read_csv
from moli.workspace.datasets.fields import Row
from moli.workspace.datasets.folders import (
    ARROW_SUFFIXES,
    SUFFIXES,
    Part,
    are_splits,
    data_files,
    expand_paths,
    suffix_of,
)
from moli.workspace.datasets.json_rows import read_json, read_json_lines, rows_of
from moli.workspace.datasets.text_files import read_text_file

Rows = Iterator[Row | MalformedRow]

_SPREADSHEETS = (".xlsx", ".xls", ".xlsm", ".ods", ".et")
_HEAD = 200  # characters, in which the first key of a file is
_BLANK_LINES = re.compile(r"\n[ \t]*\n\s*")


def read_rows(path: Path, part: Part | None = None) -> Rows:
    """Rows of a file, of the data files in a folder in order of name, or of all that fit a pattern.

    Args:
        part: the part of the data to read from a JSON file that holds splits; None reads all.

    Raises:
        InputError: there is nothing to read there, a file as a whole cannot be read, or a folder
            has files of several splits.
    """
    if path.is_dir():
        yield from _read_folder(path)
        return
    if (paths := expand_paths(path)) != [path]:
        for each_path in paths:
            yield from read_rows(each_path, part)
        return
    suffix = suffix_of(path)
    if suffix in _SPREADSHEETS:
        raise InputError("a spreadsheet", where=str(path), fix="Save the table as CSV in UTF-8.")
    if suffix not in SUFFIXES:
        raise InputError(
            "unsupported kind of file",
            where=str(path),
            fix=f"Give one of {', '.join(SUFFIXES)}; all but the tables of Arrow also as .gz.",
        )
    try:
        if suffix in ARROW_SUFFIXES:
            yield from read_arrow(path, suffix)
        else:
            yield from _read_text(path, read_text_file(path), suffix, part)
    except FileNotFoundError as error:
        raise InputError("no such file", where=str(path), fix="Check the path.") from error
    except (OSError, EOFError, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"cannot be read ({reason})",
            where=str(path),
            fix="Check the file, or copy it again.",
        ) from error


def read_splits(path: Path) -> dict[str, list[Row | MalformedRow]]:
    """The rows of each split of a file: a JSON object by whose keys rows are kept apart.

    Empty if the file holds none.

    Raises:
        InputError: a split has no rows.
    """
    if suffix_of(path) != ".json" or not path.is_file():
        return {}
    try:
        text = read_text_file(path)
        first = re.findall(r'"((?:[^"\\]|\\.)*)"', text[:_HEAD])[:1]
        value = json.loads(text) if are_splits(first) else None
    except (InputError, OSError, EOFError, zlib.error, ValueError, RecursionError):
        return {}  # which reading its rows reports
    if not isinstance(value, dict) or not are_splits(value):
        return {}
    return {name: list(rows_of(path, {name: rows})) for name, rows in value.items()}


def read_lines(path: Path, column: str) -> Rows:
    """Each non-blank line of a text file, as a row with one column.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        text = read_text_file(path)
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror or error})", where=str(path), fix="Check the path."
        ) from error
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield Row(f"{path}:{number}", {column: line.strip()})


def empty_file(path: Path) -> MalformedRow:
    """The report of a file without rows among others, as a copy that stopped leaves it."""
    return MalformedRow(str(path), "the file has no rows", "Copy it again, or remove it.")


def _read_folder(folder: Path) -> Rows:
    """Rows of all data files, with names of classes that `datasets` numbers."""
    paths = data_files(folder)
    for path in paths:
        names, is_empty = class_names_in(path.parent), True
        for row in read_rows(path):
            yield with_class_names(row, names) if isinstance(row, Row) and names else row
            is_empty = False
        if is_empty and len(paths) > 1:
            yield empty_file(path)


def _read_text(path: Path, text: str, suffix: str, part: Part | None) -> Rows:
    """Rows of a text in the format that its suffix tells."""
    if suffix == ".txt":
        return _read_paragraphs(path, text.replace("\r\n", "\n"))
    if suffix in (".csv", ".tsv"):
        return read_csv(path, text, "\t" if suffix == ".tsv" else "")
    return read_json(path, text, part) if suffix == ".json" else read_json_lines(path, text)


def _read_paragraphs(path: Path, text: str) -> Rows:
    """The paragraphs of a plain text as rows; its lines where no blank line parts paragraphs."""
    between = _BLANK_LINES if _BLANK_LINES.search(text.strip()) else re.compile(r"\n")
    start, number = 0, 1
    while start < len(text):
        gap = between.search(text, start)
        end = gap.start() if gap else len(text)
        if paragraph := text[start:end].strip():
            yield Row(f"{path}:{number}", {"text": paragraph})
        after = gap.end() if gap else end
        number += text.count("\n", start, after)
        start = after
