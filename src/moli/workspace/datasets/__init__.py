"""Data sets as people have them, read into examples; nothing is dropped silently.

dataset = read_dataset(Path("tickets.jsonl"))
dataset.examples, dataset.malformed
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from moli.records.errors import InputError
from moli.records.examples import Example, LabelledImage, Located, Malformed
from moli.workspace.datasets.fields import Row
from moli.workspace.datasets.formats import FORMATS, Format, check_columns, format_of
from moli.workspace.datasets.rows import read_lines, read_rows

__all__ = ["Dataset", "Row", "read_dataset", "read_lines", "read_questions", "read_rows"]


@dataclass(frozen=True, slots=True)
class Dataset:
    """All rows of a data set: those that are examples and those that are not, in file order.

    Attributes:
        rows: the row that each example was read from, with its other columns.
    """

    path: Path
    format: str
    examples: tuple[Located, ...]
    malformed: tuple[Malformed, ...]
    rows: tuple[Row, ...] = ()


def read_dataset(path: Path, *, columns: Mapping[str, str] | None = None) -> Dataset:
    """Read a file (JSONL, JSON, CSV, TSV, Parquet, Arrow) or a folder of them.

    Args:
        columns: Moli's column names to the data set's, such as {"text": "body"}; these columns
            are then read by no other name.

    Raises:
        InputError: nothing can be read there, no row has a known format, or `columns` has a name
            that nothing has.
    """
    rows = list(read_rows(path))
    if not rows:
        raise InputError("the data set is empty", where=str(path), fix="Add a row.")
    said = columns or {}
    check_columns(said, rows, path)
    found, usual = _detected(path, rows, said)
    return _divided(path, found, rows, lambda row: found.example(row, said, usual))


def read_questions(
    rows: Iterable[Row | Malformed],
    asked: Mapping[str, Mapping[str, Any]],
    *,
    path: Path,
    columns: Mapping[str, str] | None = None,
) -> Dataset:
    """Examples from rows for a model to answer, in which the answers may be missing.

    Args:
        asked: names of the formats that the model reads, each with the columns that a row may omit
            and their placeholder values.
        columns: names that the data had which the model learnt from; all rows have those, or all
            have Moli's.
        path: where the rows are from, for errors.

    Raises:
        InputError: there are no rows, or none has such a format.
    """
    rows = list(rows)
    if not rows:
        raise InputError("there are no rows to answer", where=str(path), fix="Add a row.")
    there = {name for row in rows if isinstance(row, Row) for name in row.values}
    said = {ours: theirs for ours, theirs in (columns or {}).items() if theirs in there}
    found, usual = _detected(path, rows, said, asked)
    blanks = asked[found.name]
    return _divided(path, found, rows, lambda row: found.example(row, said, usual, blanks))


def _divided(
    path: Path,
    found: Format,
    rows: Sequence[Row | Malformed],
    read: Callable[[Row], Example | Malformed],
) -> Dataset:
    examples: list[Located] = []
    malformed: list[Malformed] = []
    kept: list[Row] = []
    for row in rows:
        example = read(row) if isinstance(row, Row) else row
        if isinstance(row, Row) and not isinstance(example, Malformed):
            examples.append(Located(row.where, _placed(example, path)))
            kept.append(row)
        elif isinstance(example, Malformed):
            malformed.append(example)
    return Dataset(path, found.name, tuple(examples), tuple(malformed), tuple(kept))


def _placed(example: Example, path: Path) -> Example:
    """An image's path is relative to the data file that names it."""
    if isinstance(example, LabelledImage):
        folder = path if path.is_dir() else path.parent
        return replace(example, path=(folder / example.path).absolute())
    return example


def _detected(
    path: Path,
    rows: Sequence[Row | Malformed],
    said: Mapping[str, str],
    asked: Mapping[str, Mapping[str, Any]] | None = None,
) -> tuple[Format, dict[str, str]]:
    """The format of the first row that has one, and the names of its columns there."""
    for row in rows:
        if isinstance(row, Row) and (found := format_of(row.values, said, asked)):
            return found, found.names(row.values, said)
    first = rows[0]
    if isinstance(first, Malformed):
        raise InputError(first.what, where=first.where, fix=first.fix)
    if asked is not None:
        needed = [
            sorted(said.get(name, name) for name in each.columns.keys() - asked[each.name].keys())
            for each in FORMATS
            if each.name in asked
        ]
        raise InputError(
            f"columns {', '.join(map(str, first.values)) or '-'} do not fit this model",
            where=str(path),
            fix=f"It needs {' or '.join(' with '.join(each) for each in needed)}.",
        )
    raise InputError(
        f"columns {', '.join(map(str, first.values)) or '-'} do not match any known format",
        where=str(path),
        fix="Rename them as Moli expects, or map them: columns: {text: ..., label: ...}.",
    )
