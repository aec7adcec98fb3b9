"""Data sets in the formats that people have, read into examples; nothing is dropped silently.

dataset = read_dataset(Path("tickets.jsonl"))
dataset.examples, dataset.malformed
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from moli.records.errors import InputError
from moli.records.examples import Example, LocatedExample, MalformedRow
from moli.workspace.datasets.columns import DatasetFormat
from moli.workspace.datasets.detection import QuestionFormats, check_columns, format_of
from moli.workspace.datasets.fields import Row
from moli.workspace.datasets.formats import FORMATS
from moli.workspace.datasets.rows import read_lines, read_rows

__all__ = ["Dataset", "Row", "read_dataset", "read_lines", "read_questions", "read_rows"]


@dataclass(frozen=True, slots=True)
class Dataset:
    """The examples and the malformed rows of a data set, each in file order.

    Attributes:
        path: the file or folder.
        format: name of the format, such as `messages`.
        rows: for each example the row that it was read from, with its other columns.
    """

    path: Path
    format: str
    examples: tuple[LocatedExample, ...]
    malformed: tuple[MalformedRow, ...]
    rows: tuple[Row, ...] = ()


def read_dataset(path: Path, *, columns: Mapping[str, str] | None = None) -> Dataset:
    """Read a file (JSONL, JSON, CSV, TSV, Parquet, Arrow) or a folder of them.

    Args:
        columns: Moli's column names to the data set's, such as {"text": "body"}. A mapped column
            is read by that name only; mapping to a missing column is an error.

    Raises:
        InputError: nothing can be read there, no row has a known format, or `columns` has a name
            that neither Moli nor the data set knows.
    """
    rows = list(read_rows(path))
    if not rows:
        raise InputError("the data set is empty", where=str(path), fix="Add a row.")
    mapping = columns or {}
    check_columns(mapping, rows, path)
    detected, usual = _detect_format(path, rows, mapping)
    return _read_examples(path, detected, rows, lambda row: detected.example(row, mapping, usual))


def read_questions(
    rows: Iterable[Row | MalformedRow],
    allowed: QuestionFormats,
    *,
    path: Path,
    columns: Mapping[str, str] | None = None,
) -> Dataset:
    """Read rows for a model to answer, in which the answers may be missing.

    Args:
        allowed: names of the formats that the model reads, each with the columns that a row may
            omit and their placeholder values.
        columns: Moli's column names to those of the data that the model was trained on; all rows
            have the latter, or all have Moli's.
        path: the origin of the rows, for errors.

    Raises:
        InputError: there are no rows, or none has an allowed format.
    """
    rows = list(rows)
    if not rows:
        raise InputError("there are no rows to answer", where=str(path), fix="Add a row.")
    in_data = {name for row in rows if isinstance(row, Row) for name in row.values}
    mapping = {ours: theirs for ours, theirs in (columns or {}).items() if theirs in in_data}
    detected, usual = _detect_format(path, rows, mapping, allowed)
    placeholders = allowed[detected.name]
    return _read_examples(
        path, detected, rows, lambda row: detected.example(row, mapping, usual, placeholders)
    )


def _read_examples(
    path: Path,
    detected: DatasetFormat,
    rows: Sequence[Row | MalformedRow],
    read: Callable[[Row], Example | MalformedRow],
) -> Dataset:
    """Read the examples of a data set from its rows.

    Args:
        detected: the format of the rows.
        read: reads the example in a row that is not malformed already.
    """
    folder = path if path.is_dir() else path.parent
    examples: list[LocatedExample] = []
    malformed: list[MalformedRow] = []
    example_rows: list[Row] = []
    for row in rows:
        example = read(row) if isinstance(row, Row) else row
        if isinstance(row, Row) and not isinstance(example, MalformedRow):
            examples.append(LocatedExample(row.where, example.with_files_in(folder)))
            example_rows.append(row)
        elif isinstance(example, MalformedRow):
            malformed.append(example)
    return Dataset(path, detected.name, tuple(examples), tuple(malformed), tuple(example_rows))


def _detect_format(
    path: Path,
    rows: Sequence[Row | MalformedRow],
    mapping: Mapping[str, str],
    allowed: QuestionFormats | None = None,
) -> tuple[DatasetFormat, dict[str, str]]:
    """The format of the first row that has one, and the names of its columns in that row.

    Args:
        path: the origin of the rows, for errors.
        mapping: Moli's column names to the data set's, as the user gave them.
        allowed: names of the formats that may be detected; None for all.

    Raises:
        InputError: no row has such a format.
    """
    for row in rows:
        if isinstance(row, Row) and (detected := format_of(row.values, mapping, allowed)):
            return detected, detected.names_in(row.values, mapping)
    first = rows[0]
    if isinstance(first, MalformedRow):
        raise InputError(first.what, where=first.where, fix=first.fix)
    shown = ", ".join(map(str, first.values)) or "-"
    if allowed is not None:
        needed = [
            sorted(
                mapping.get(name, name)
                for name in candidate.columns.keys() - allowed[candidate.name].keys()
            )
            for candidate in FORMATS
            if candidate.name in allowed
        ]
        raise InputError(
            f"columns {shown} do not fit this model",
            where=str(path),
            fix=f"It needs {' or '.join(' with '.join(names) for names in needed)}.",
        )
    raise InputError(
        f"columns {shown} do not match any known format",
        where=str(path),
        fix="Rename them as Moli expects, or map them: columns: {text: ..., label: ...}.",
    )
