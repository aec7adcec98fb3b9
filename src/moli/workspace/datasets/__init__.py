"""Data sets in the formats that people have, read into examples; nothing is dropped silently.

dataset = read_dataset(Path("tickets.jsonl"))
dataset.examples, dataset.malformed
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moli.records.errors import InputError
from moli.records.examples import (
    Conversation,
    Example,
    LocatedExample,
    MalformedRow,
    Pair,
    Preference,
    RatedAnswer,
    Text,
    UnreadLines,
)
from moli.workspace.datasets.columns import DatasetFormat
from moli.workspace.datasets.conversations import unread_keys, with_roles
from moli.workspace.datasets.detection import (
    Kinds,
    QuestionFormats,
    check_columns,
    fits,
    format_of,
    mapping_in,
)
from moli.workspace.datasets.fields import Row
from moli.workspace.datasets.folders import Part, expand_paths
from moli.workspace.datasets.formats import FORMATS, TEXT
from moli.workspace.datasets.labels import join_label_columns
from moli.workspace.datasets.preferences import check_no_preference
from moli.workspace.datasets.roles import RoleNames
from moli.workspace.datasets.rows import empty_file, read_lines, read_rows, read_splits
from moli.workspace.datasets.suggestions import suggest_columns

__all__ = [
    "Dataset",
    "Kinds",
    "Part",
    "Row",
    "expand_paths",
    "lacks_header",
    "read_dataset",
    "read_lines",
    "read_questions",
    "read_rows",
    "read_splits",
]


_TURN_COLUMNS = {"messages", "source", "target"}  # in which turns may be


@dataclass(frozen=True, slots=True)
class Dataset:
    """The examples and the malformed rows of a data set, each in file order.

    Attributes:
        path: the file or folder.
        format: name of the format, such as `messages`.
        rows: for each example the row that it was read from, with its other columns.
        unread: lines that are no rows, because of a fault before them.
        unused: names of columns that the format does not read, and of keys in turns, such as
            `messages[].reasoning_content`.
        advice: the columns to map if the rows are of another kind than needed; "" if none would do.
    """

    path: Path
    format: str
    examples: tuple[LocatedExample, ...]
    malformed: tuple[MalformedRow, ...]
    rows: tuple[Row, ...] = ()
    unread: tuple[UnreadLines, ...] = ()
    unused: tuple[str, ...] = ()
    advice: str = ""

    @property
    def unread_lines(self) -> int:
        """Number of lines that are no rows."""
        return sum(part.lines for part in self.unread)

    @property
    def row_count(self) -> int:
        """Number of rows in the files, lines that are no rows included.

        A row of several pairs of answers counts as many, so that all examples are accounted for.
        """
        return len(self.examples) + len(self.malformed) + self.unread_lines


def read_dataset(
    paths: Path | Sequence[Path],
    *,
    columns: Mapping[str, str] | None = None,
    roles: RoleNames | None = None,
    kinds: Kinds = (),
    part: Part | None = None,
    rows: Sequence[Row | MalformedRow] | None = None,
) -> Dataset:
    """Read a file (JSONL, JSON, CSV, TSV, Parquet, Arrow, plain text), a folder, or several.

    Args:
        paths: a file, a folder, or a pattern such as `parts/*.csv`, or several of these.
        part: the part of the data to read from JSON files that hold splits; None reads all.
        kinds: the kinds of example that are needed, which decide between formats that rows fit.
        columns: Moli's column names to the data set's, such as {"text": "body"}. A mapped column
            is read by that name only; mapping to a missing column is an error.
        roles: Moli's roles of turns, each with the data set's names for it, beside the usual ones.
        rows: the rows of the one file, if they are read already.

    Raises:
        InputError: nothing can be read there, no row has a known format, rows are preferences, or
            `columns` has a name that neither Moli nor the data set knows.
    """
    mapping = columns or {}
    sources = {
        path: join_label_columns(list(read_rows(path, part) if rows is None else rows), mapping)
        for path in expand_paths(paths)
    }
    if any(sources.values()):
        sources = {path: rows or [empty_file(path)] for path, rows in sources.items()}
    path = Path(os.path.commonpath(sources)) if len(sources) > 1 else next(iter(sources), Path())
    rows = [row for source in sources.values() for row in source]
    if not rows:
        raise InputError("the data set is empty", where=str(path), fix="Add a row.")
    check_columns(mapping, rows, path, kinds)
    detected, usual = _detect_format(path, rows, mapping, kinds=kinds)
    readable = [row for row in rows if isinstance(row, Row)]
    is_needed = not kinds or issubclass(detected.kind, kinds)
    if is_needed and issubclass(detected.kind, Conversation | Pair | Text):
        for row in readable:
            check_no_preference(row, detected, mapping)
    elif issubclass(detected.kind, Preference | RatedAnswer) and Conversation in kinds:
        check_no_preference(readable[0], None, mapping)
    parts = []
    for source, own_rows in sources.items():
        own = _format_of_file(own_rows, detected, mapping, kinds)
        names = usual if own is detected else {}
        read = _reader(own, mapping, names, roles)
        parts.append(_read_examples(source, own, own_rows, mapping, read))
    return Dataset(
        path,
        detected.name,
        tuple(example for part in parts for example in part.examples),
        tuple(row for part in parts for row in part.malformed),
        tuple(row for part in parts for row in part.rows),
        tuple(lines for part in parts for lines in part.unread),
        tuple(dict.fromkeys(name for part in parts for name in part.unused)),
        "" if is_needed else _columns_advice(readable, mapping, kinds),
    )


def _unused_columns(
    detected: DatasetFormat, rows: Sequence[Row], mapping: Mapping[str, str]
) -> tuple[str, ...]:
    """Names of columns that a format does not read, in the order of the data, and keys of turns."""
    names = {name: None for row in rows for name in row.values}
    read = detected.names_in(names, mapping)
    used = {*read.values(), *detected.known_names}
    numbered = re.compile(rf"(?:{'|'.join(detected.optional) or '-'})_[0-9]+")
    columns = [
        name
        for name in names
        if not {name, name.strip().casefold()} & used and not numbered.fullmatch(name)
    ]
    keys = {
        f"{name}[].{key}": None
        for ours in _TURN_COLUMNS & read.keys()
        for row in rows
        for name in [read[ours]]
        for key in unread_keys(row.values.get(name))
    }
    return (*columns, *sorted(keys))


def read_questions(
    rows: Iterable[Row | MalformedRow],
    allowed: QuestionFormats,
    *,
    path: Path,
    columns: Mapping[str, str] | None = None,
    roles: RoleNames | None = None,
) -> Dataset:
    """Read rows for a model to answer, in which the answers may be missing.

    Args:
        allowed: names of the formats that the model reads, each with the columns that a row may
            omit and their placeholder values.
        columns: Moli's column names to those of the data that the model was trained on; all rows
            have the latter, or all have Moli's.
        path: the origin of the rows, for errors.
        roles: Moli's roles of turns, each with the data's names for it.

    Raises:
        InputError: there are no rows, or none has an allowed format.
    """
    rows = list(rows)
    if not rows:
        raise InputError("there are no rows to answer", where=str(path), fix="Add a row.")
    mapping = mapping_in(rows, columns or {})
    detected, usual = _detect_format(path, rows, mapping, allowed)
    read = _reader(detected, mapping, usual, roles, allowed[detected.name])
    return _read_examples(path, detected, rows, mapping, read)


def _format_of_file(
    rows: Sequence[Row | MalformedRow],
    detected: DatasetFormat,
    mapping: Mapping[str, str],
    kinds: Kinds,
) -> DatasetFormat:
    """The format of one file of a data set: the whole data set's, unless it does not fit its rows.

    Args:
        detected: the format of the whole data set.
        kinds: the kinds of example that are needed; another format has to be of one of them.
    """
    first = next((row.values for row in rows if isinstance(row, Row)), None)
    if not kinds or first is None or fits(detected, first, mapping):
        return detected
    own = format_of(first, mapping, None, kinds)
    return own if own and issubclass(own.kind, kinds) else detected


def _reader(
    detected: DatasetFormat,
    mapping: Mapping[str, str],
    usual: Mapping[str, str],
    roles: RoleNames | None,
    placeholders: Mapping[str, Any] | None = None,
) -> Callable[[Row], tuple[Example, ...] | MalformedRow]:
    """A function that reads the examples in a row, or returns the reason why there are none."""
    return lambda row: detected.examples(with_roles(row, roles or {}), mapping, usual, placeholders)


def _read_examples(
    path: Path,
    detected: DatasetFormat,
    rows: Sequence[Row | MalformedRow],
    mapping: Mapping[str, str],
    read: Callable[[Row], tuple[Example, ...] | MalformedRow],
) -> Dataset:
    """Read the examples of a data set from its rows.

    Args:
        detected: the format of the rows.
        read: reads the examples in a row that is not malformed already.
    """
    folder = path if path.is_dir() else path.parent
    examples: list[LocatedExample] = []
    malformed: list[MalformedRow] = []
    unread: list[UnreadLines] = []
    example_rows: list[Row] = []
    for row in rows:
        result = read(row) if isinstance(row, Row) else row
        if isinstance(row, Row) and isinstance(result, tuple):
            for example in result:
                examples.append(LocatedExample(row.where, example.with_files_in(folder)))
                example_rows.append(row)
        elif isinstance(result, UnreadLines):
            unread.append(result)
        elif isinstance(result, MalformedRow):
            malformed.append(result)
    return Dataset(
        path,
        detected.name,
        tuple(examples),
        tuple(malformed),
        tuple(example_rows),
        tuple(unread),
        _unused_columns(detected, [row for row in rows if isinstance(row, Row)], mapping),
    )


def _detect_format(
    path: Path,
    rows: Sequence[Row | MalformedRow],
    mapping: Mapping[str, str],
    allowed: QuestionFormats | None = None,
    kinds: Kinds = (),
) -> tuple[DatasetFormat, dict[str, str]]:
    """The format of the first row that has one, and the names of its columns in that row.

    Args:
        path: the origin of the rows, for errors.
        mapping: Moli's column names to the data set's, as the user gave them.
        allowed: names of the formats that may be detected; None for all.
        kinds: the kinds of example that are needed; empty for any.

    Raises:
        InputError: no row has such a format.
    """
    readable = [row for row in rows if isinstance(row, Row)]
    for row in readable:
        if detected := format_of(row.values, mapping, allowed, kinds):
            return detected, detected.names_in(row.values, mapping)
    if not readable and isinstance(first := rows[0], MalformedRow):
        raise InputError(first.what, where=first.where, fix=first.fix)
    shown = ", ".join(map(str, readable[0].values)) or "-"
    if allowed is not None:
        raise InputError(
            f"columns {shown} do not fit this model",
            where=str(path),
            fix=f"It needs {_needed_columns(mapping, allowed)}.",
        )
    if not kinds or Conversation in kinds:
        check_no_preference(readable[0], None, mapping)
    raise InputError(
        f"columns {shown} do not match any known format",
        where=str(path),
        fix=_columns_advice(readable, mapping, kinds),
    )


def _columns_advice(rows: Sequence[Row], mapping: Mapping[str, str], kinds: Kinds) -> str:
    """Advice for rows whose columns fit no format: a header, a mapping, or the columns needed."""
    suitable = [each for each in FORMATS if not kinds or issubclass(each.kind, kinds)]
    if lacks_header(rows):
        return "If the file has no header, add one as its first line, such as: text,label."
    # Of a row with more than a text, the text alone is not what a task of several kinds is for.
    mappable = [each for each in suitable if each is not TEXT or len(suitable) == 1]
    if line := suggest_columns(rows, mappable):
        return f"Add this to the recipe, if it is what they are: `{line}`."
    needed = _needed_columns(mapping, {each.name: {} for each in suitable})
    return f"Rename them, or map them with 'columns': the task needs {needed}."


def lacks_header(rows: Sequence[Row]) -> bool:
    """Whether the names of a CSV file's columns seem to be its first row."""
    if not re.search(r"\.[ct]sv(\.gz)?:[0-9]+$", rows[0].where):
        return False
    return any(name == row.values[name] for row in rows[:100] for name in row.values)


def _needed_columns(mapping: Mapping[str, str], allowed: QuestionFormats) -> str:
    """The columns that rows need in each of some formats, such as "question + context"."""
    needed = [
        [
            mapping.get(name, name)
            for name in candidate.columns
            if name not in allowed[candidate.name]
        ]
        for candidate in FORMATS
        if candidate.name in allowed
    ]
    return ", or ".join(dict.fromkeys(" + ".join(names) for names in needed))
