"""Files to rows, each with its origin. What cannot be read is reported, never dropped."""

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
from moli.records.examples import Malformed
from moli.workspace.datasets.conversations import is_turn
from moli.workspace.datasets.fields import Row
from moli.workspace.datasets.folders import SUFFIXES, data_files, suffix_of
from moli.workspace.datasets.formats import format_of

Rows = Iterator[Row | Malformed]


def read_rows(path: Path) -> Rows:
    """Rows of a file, or of the data files in a folder in order of name.

    Raises:
        InputError: there is nothing to read there, a file as a whole cannot be read, or a folder
            has files of several splits.
    """
    if path.is_dir():
        yield from _folder(path)
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
            yield from _columns(path, suffix)
        else:
            yield from _text_rows(path, _decoded(path), suffix)
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
        text = _decoded(path)
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror or error})", where=str(path), fix="Check the path."
        ) from error
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield Row(f"{path}:{number}", {column: line.strip()})


def _folder(folder: Path) -> Rows:
    for path in data_files(folder):
        names = _class_names(_beside(path))
        for row in read_rows(path):
            yield _named(row, names) if isinstance(row, Row) and names else row


def _beside(path: Path) -> Any:
    """What `datasets` has written of the data's columns beside them."""
    try:
        info = json.loads((path.parent / "dataset_info.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return info.get("features") if isinstance(info, dict) else None


def _class_names(features: Any) -> dict[str, list[str]]:
    """For each column of classes that `datasets` numbers, the classes' names in order."""
    if not isinstance(features, dict):
        return {}
    return {
        column: [str(name) for name in kind["names"]]
        for column, kind in features.items()
        if isinstance(kind, dict) and kind.get("_type") == "ClassLabel" and kind.get("names")
    }


def _named(row: Row, names: dict[str, list[str]]) -> Row | Malformed:
    """A row whose classes go by their names instead of by their numbers."""
    named = dict(row.values)
    for column, classes in names.items():
        number = named.get(column)
        if not isinstance(number, int) or isinstance(number, bool):
            continue
        if not 0 <= number < len(classes):
            return Malformed(
                row.where,
                f"'{column}' is {number}, but the data set has {len(classes)} classes, from 0 on",
                "Give the row a class, or remove it.",
            )
        named[column] = classes[number]
    return Row(row.where, named)


def _decoded(path: Path) -> str:
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


def _text_rows(path: Path, text: str, suffix: str) -> Rows:
    if suffix in (".csv", ".tsv"):
        return _csv(path, text, "\t" if suffix == ".tsv" else "")
    if suffix == ".json" and not _is_lines(text):
        return _json(path, text)
    return _jsonl(path, text)


def _is_lines(text: str) -> bool:
    """Whether a .json file holds an object a line, as many do."""
    first, _, rest = text.strip().partition("\n")
    return first.startswith("{") and first.rstrip().endswith("}") and rest.lstrip().startswith("{")


def _jsonl(path: Path, text: str) -> Rows:
    # Not splitlines(): JSON lets U+2028 and its like stand in a text.
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield _row(f"{path}:{number}", *_parsed(line))


def _json(path: Path, text: str) -> Rows:
    value, problem = _parsed(text)
    if isinstance(value, dict):
        value = _rows_of(value)
    if problem or not isinstance(value, list):
        what = problem or "not a list of objects"
        yield Malformed(str(path), what, "Write [{...}, ...], or one object a line.")
        return
    for number, each in enumerate(value, 1):
        yield _row(f"{path} row {number}", each, "")


def _rows_of(value: dict[str, Any]) -> Any:
    """The rows of an object: those in "data" or in the only list there is, or it is one itself.

    A list of turns is no list of rows, though a turn's content could pass for a text.
    """
    lists = [each for each in value.values() if isinstance(each, list)]
    listed = value.get("data", lists[0] if len(lists) == 1 else None)
    first = listed[0] if isinstance(listed, list) and listed else None
    if isinstance(first, dict) and not is_turn(first) and format_of(first, {}):
        return listed
    return [value] if is_turn(first) or format_of(value, {}) else listed


def _parsed(text: str) -> tuple[Any, str]:
    """The value, and what is wrong with the text if it is no JSON."""
    try:
        return json.loads(text), ""
    except json.JSONDecodeError as error:
        place = f"line {error.lineno} column" if error.lineno > 1 else "column"
        return None, f"not JSON ({error.msg} at {place} {error.colno})"
    except ValueError:  # of Python, which takes no number of more than 4,300 digits
        return None, "unreadable JSON (a number has too many digits)"
    except RecursionError:
        return None, "unreadable JSON (nested too deeply)"


def _row(where: str, value: Any, problem: str) -> Row | Malformed:
    if problem:
        return Malformed(where, problem, "Correct it.")
    if not isinstance(value, dict):
        kind = "null" if value is None else type(value).__name__
        return Malformed(where, f"a {kind}, not an object", 'Write {"name": value, ...}.')
    return Row(where, value)


def _csv(path: Path, text: str, delimiter: str) -> Rows:
    csv.field_size_limit(sys.maxsize)
    header = text.partition("\n")[0]
    delimiter = delimiter or max(",;\t", key=header.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    line = 1
    try:
        names = next(filter(None, reader), [])
        if repeated := {name for name in names if names.count(name) > 1}:
            what = f"duplicate column '{sorted(repeated)[0]}'"
            yield Malformed(f"{path}:1", what, "Give each column its own name.")
            return
        line = reader.line_num + 1
        for cells in reader:
            where, line = f"{path}:{line}", reader.line_num + 1
            if len(cells) == len(names):
                yield Row(where, dict(zip(names, cells, strict=True)))
            elif cells:
                yield Malformed(
                    where,
                    f"{len(cells)} cells under {len(names)} columns",
                    f"Put texts that contain '{delimiter}' or a line break in double quotes.",
                )
    except csv.Error as error:
        yield Malformed(
            f"{path}:{line}", f"not CSV ({error})", 'Close the quote; write a quote inside as "".'
        )


def _columns(path: Path, suffix: str) -> Rows:
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
            names = _class_names(_within(batch.schema.metadata))
            nested = [each.name for each in batch.schema if pa.types.is_nested(each.type)]
            for values in batch.to_pylist():
                number += 1
                values |= {name: _without_fillers(values[name]) for name in nested}
                yield _named(Row(f"{path} row {number}", values), names)
    except (pa.ArrowException, UnicodeDecodeError) as error:
        raise InputError(
            f"unreadable {suffix[1:]} from row {number + 1} on ({' '.join(str(error).split())})",
            where=str(path),
            fix="Write the file again.",
        ) from error


def _without_fillers(value: Any) -> Any:
    """A nested value without its nulls: of one schema, all structs have all the keys of any."""
    if isinstance(value, dict):
        return {key: _without_fillers(each) for key, each in value.items() if each is not None}
    return [_without_fillers(each) for each in value] if isinstance(value, list) else value


def _within(metadata: Any) -> Any:
    """What `datasets` has written of the data's columns in the file itself."""
    try:
        return json.loads((metadata or {})[b"huggingface"])["info"]["features"]
    except (KeyError, TypeError, ValueError):
        return None
