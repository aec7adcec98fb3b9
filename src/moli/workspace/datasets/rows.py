"""Data files to rows, each with its origin; unreadable rows are reported, never dropped."""

from __future__ import annotations

import csv
import gzip
import io
import json
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from moli.records.errors import InputError
from moli.records.examples import MalformedRow
from moli.workspace.datasets.conversations import is_turn
from moli.workspace.datasets.detection import format_of
from moli.workspace.datasets.fields import Row
from moli.workspace.datasets.folders import SUFFIXES, data_files, suffix_of

Rows = Iterator[Row | MalformedRow]


def read_rows(path: Path) -> Rows:
    """Rows of a file, or of the data files in a folder in order of name.

    Raises:
        InputError: there is nothing to read there, a file as a whole cannot be read, or a folder
            has files of several splits.
    """
    if path.is_dir():
        yield from _read_folder(path)
        return
    suffix = suffix_of(path)
    if suffix not in SUFFIXES:
        raise InputError(
            "unsupported kind of file",
            where=str(path),
            fix=f"Give one of {', '.join(SUFFIXES)}, the first five also as .gz.",
        )
    try:
        if suffix in (".parquet", ".arrow"):
            yield from _read_arrow(path, suffix)
        else:
            yield from _read_text(path, _read_utf8(path), suffix)
    except FileNotFoundError as error:
        raise InputError("no such file", where=str(path), fix="Check the path.") from error
    except (OSError, EOFError, zlib.error) as error:
        reason = " ".join(str(error).split())
        raise InputError(
            f"cannot be read ({reason})",
            where=str(path),
            fix="Check the file, or copy it again.",
        ) from error


def read_lines(path: Path, column: str) -> Rows:
    """Each non-blank line of a text file, as a row with one column.

    Raises:
        InputError: the file cannot be read.
    """
    try:
        text = _read_utf8(path)
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror or error})", where=str(path), fix="Check the path."
        ) from error
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield Row(f"{path}:{number}", {column: line.strip()})


def _read_folder(folder: Path) -> Rows:
    """Rows of all data files, with names of classes that `datasets` numbers."""
    for path in data_files(folder):
        names = _class_names(_features_of_folder(path.parent))
        for row in read_rows(path):
            yield _with_class_names(row, names) if isinstance(row, Row) and names else row


def _features_of_folder(folder: Path) -> Any:
    """The description of the columns that `datasets` wrote next to the data; None without one."""
    try:
        info = json.loads((folder / "dataset_info.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return info.get("features") if isinstance(info, dict) else None


def _class_names(features: Any) -> dict[str, list[str]]:
    """Names of the classes, in order, for each column in which `datasets` stores class numbers."""
    if not isinstance(features, dict):
        return {}
    return {
        column: [str(name) for name in feature["names"]]
        for column, feature in features.items()
        if isinstance(feature, dict)
        and feature.get("_type") == "ClassLabel"
        and feature.get("names")
    }


def _with_class_names(row: Row, names: dict[str, list[str]]) -> Row | MalformedRow:
    """The row with names of classes instead of their numbers."""
    values = dict(row.values)
    for column, classes in names.items():
        number = values.get(column)
        if not isinstance(number, int) or isinstance(number, bool):
            continue
        if not 0 <= number < len(classes):
            return MalformedRow(
                row.where,
                f"'{column}' is {number}, but the data set has {len(classes)} classes, from 0 on",
                "Give the row a class, or remove it.",
            )
        values[column] = classes[number]
    return Row(row.where, values)


def _read_utf8(path: Path) -> str:
    """The text of a UTF-8 file, which may be compressed."""
    with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
        data = file.read()
    if data.startswith((b"\xff\xfe", b"\xfe\xff")) or data[:200].count(0) > len(data[:200]) // 4:
        raise InputError("UTF-16, not UTF-8", where=f"{path}:1", fix="Save the file as UTF-8.")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"not UTF-8 (byte {data[error.start]:#04x})",
            where=f"{path}:{line}",
            fix="Save the file as UTF-8.",
        ) from error


def _read_text(path: Path, text: str, suffix: str) -> Rows:
    """Rows of a text in the format that its suffix tells."""
    if suffix in (".csv", ".tsv"):
        return _read_csv(path, text, "\t" if suffix == ".tsv" else "")
    if suffix == ".json" and not _is_jsonl(text):
        return _read_json(path, text)
    return _read_jsonl(path, text)


def _is_jsonl(text: str) -> bool:
    """Whether the text of a .json file is one object a line, as is common."""
    first, _, rest = text.strip().partition("\n")
    return first.startswith("{") and first.rstrip().endswith("}") and rest.lstrip().startswith("{")


def _read_jsonl(path: Path, text: str) -> Rows:
    """Rows of a text with one JSON object a line."""
    # Not splitlines(): JSON lets U+2028 and its like stand in a text.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield _to_row(f"{path}:{number}", *_parse_json(line))


def _read_json(path: Path, text: str) -> Rows:
    """Rows of a text that is one JSON value: a list of rows, or an object that holds them."""
    value, problem = _parse_json(text)
    if isinstance(value, dict):
        value = _rows_in_object(value)
    if problem or not isinstance(value, list):
        what = problem or "not a list of objects"
        yield MalformedRow(str(path), what, "Write [{...}, ...], or one object a line.")
        return
    for number, row in enumerate(value, 1):
        yield _to_row(f"{path} row {number}", row, "")


def _rows_in_object(value: dict[str, Any]) -> Any:
    """The list in "data", the only list, or a list of the object itself if it is a row.

    A list of turns is no list of rows, though a turn's content could pass for a text.
    """
    lists = [item for item in value.values() if isinstance(item, list)]
    rows = value.get("data", lists[0] if len(lists) == 1 else None)
    first = rows[0] if isinstance(rows, list) and rows else None
    if isinstance(first, dict) and not is_turn(first) and format_of(first, {}):
        return rows
    return [value] if is_turn(first) or format_of(value, {}) else rows


def _parse_json(text: str) -> tuple[Any, str]:
    """The value of a JSON text and "", or None and the problem with the text."""
    try:
        return json.loads(text), ""
    except json.JSONDecodeError as error:
        position = f"line {error.lineno} column" if error.lineno > 1 else "column"
        return None, f"not JSON ({error.msg} at {position} {error.colno})"
    except ValueError:  # of Python, which takes no number of more than 4,300 digits
        return None, "unreadable JSON (a number has too many digits)"
    except RecursionError:
        return None, "unreadable JSON (nested too deeply)"


def _to_row(where: str, value: Any, problem: str) -> Row | MalformedRow:
    """A row from a JSON value; malformed if that is no object, or has a problem already."""
    if problem:
        return MalformedRow(where, problem, "Correct it.")
    if not isinstance(value, dict):
        kind = "null" if value is None else type(value).__name__
        return MalformedRow(where, f"a {kind}, not an object", 'Write {"name": value, ...}.')
    return Row(where, value)


def _read_csv(path: Path, text: str, delimiter: str) -> Rows:
    """Rows of a table; `delimiter` is "" if it is to be detected from the header."""
    csv.field_size_limit(sys.maxsize)
    header = text.partition("\n")[0]
    delimiter = delimiter or max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        names = next(filter(None, reader), [])
        if repeated := {name for name in names if names.count(name) > 1}:
            what = f"duplicate column '{sorted(repeated)[0]}'"
            yield MalformedRow(f"{path}:1", what, "Give each column its own name.")
            return
        line = reader.line_num + 1
        for cells in reader:
            where, line = f"{path}:{line}", reader.line_num + 1
            if len(cells) == len(names):
                yield Row(where, dict(zip(names, cells, strict=True)))
            elif cells:
                yield MalformedRow(
                    where,
                    f"{len(cells)} cells under {len(names)} columns",
                    f"Put texts that contain '{delimiter}' or a line break in double quotes.",
                )
    except csv.Error as error:
        yield MalformedRow(
            f"{path}:{line}", f"not CSV ({error})", 'Close the quote; write a quote inside as "".'
        )


def _read_arrow(path: Path, suffix: str) -> Rows:
    """Rows of a Parquet or Arrow file."""
    import pyarrow as pa
    import pyarrow.ipc
    import pyarrow.parquet

    number = 0
    try:
        if suffix == ".parquet":
            batches = pyarrow.parquet.ParquetFile(path).iter_batches()
        else:
            batches = iter(pa.ipc.open_stream(pa.memory_map(str(path))))
        for batch in batches:
            names = _class_names(_features_of_schema(batch.schema.metadata))
            nested = [field.name for field in batch.schema if pa.types.is_nested(field.type)]
            for values in batch.to_pylist():
                number += 1
                values |= {name: _without_nulls(values[name]) for name in nested}
                yield _with_class_names(Row(f"{path} row {number}", values), names)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise InputError(
            f"unreadable {suffix[1:]} from row {number + 1} on ({' '.join(str(error).split())})",
            where=str(path),
            fix="Write the file again.",
        ) from error


def _without_nulls(value: Any) -> Any:
    """A nested value without its nulls: Arrow gives each struct of a column the keys of all."""
    if isinstance(value, dict):
        return {key: _without_nulls(item) for key, item in value.items() if item is not None}
    return [_without_nulls(item) for item in value] if isinstance(value, list) else value


def _features_of_schema(metadata: Any) -> Any:
    """The description of the columns that `datasets` wrote into the file; None without one."""
    try:
        return json.loads((metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return None
