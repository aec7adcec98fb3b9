"""Data sets as people have them, read to examples with nothing dropped unsaid.

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
from moli.workspace.datasets.formats import FORMATS, Format, format_of
from moli.workspace.datasets.rows import read_lines, read_rows

__all__ = ["Dataset", "Row", "read_dataset", "read_lines", "read_questions", "read_rows"]


@dataclass(frozen=True, slots=True)
class Dataset:
    """All rows of a data set: those that are examples and those that are not, in file order.

    Attributes:
        rows: what each of the examples was read from, with whatever else stands there.
    """

    path: Path
    format: str
    examples: tuple[Located, ...]
    malformed: tuple[Malformed, ...]
    rows: tuple[Row, ...] = ()


def read_dataset(path: Path, *, columns: Mapping[str, str] | None = None) -> Dataset:
    """Read a file (JSONL, JSON, CSV, TSV, Parquet, Arrow) or a folder of them.

    Args:
        columns: names that the data set has for Moli's columns, as {"text": "body"}.

    Raises:
        InputError: nothing can be read there, or no row has a known format.
    """
    rows = list(read_rows(path))
    if not rows:
        raise InputError("the data set is empty", where=str(path), fix="Add a row.")
    columns = columns or {}
    found = _detected(path, rows, columns)
    return _divided(path, found, rows, lambda row: found.example(_renamed(row, columns)))


def read_questions(
    rows: Iterable[Row | Malformed],
    asked: Mapping[str, Mapping[str, Any]],
    *,
    path: Path,
    columns: Mapping[str, str] | None = None,
) -> Dataset:
    """Examples of rows that a model is to answer, so that what it tells may be missing in them.

    Args:
        asked: names of the formats that the model reads, each with columns that a row may lack and
            what then stands in their place.
        path: where the rows are from, for errors.

    Raises:
        InputError: there are no rows, or none has such a format.
    """
    rows = list(rows)
    if not rows:
        raise InputError("there is nothing to answer", where=str(path), fix="Add a row.")
    columns = columns or {}
    found = _detected(path, rows, columns, asked)
    blanks = asked[found.name]
    return _divided(
        path, found, rows, lambda row: found.example(_renamed(row, columns), blanks=blanks)
    )


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
    """An image's path is relative to the data that name it."""
    if isinstance(example, LabelledImage):
        folder = path if path.is_dir() else path.parent
        return replace(example, path=(folder / example.path).absolute())
    return example


def _renamed(row: Row, columns: Mapping[str, str]) -> Row:
    named = {our: row.values[their] for our, their in columns.items() if their in row.values}
    return Row(row.where, row.values | named)


def _detected(
    path: Path,
    rows: Sequence[Row | Malformed],
    columns: Mapping[str, str],
    asked: Mapping[str, Mapping[str, Any]] | None = None,
) -> Format:
    for row in rows:
        if isinstance(row, Row) and (found := format_of(_renamed(row, columns).values, asked)):
            return found
    first = rows[0]
    if isinstance(first, Malformed):
        raise InputError(first.what, where=first.where, fix=first.fix)
    first = _renamed(first, columns)
    if asked is not None:
        needed = [
            sorted(each.columns.keys() - asked[each.name].keys())
            for each in FORMATS
            if each.name in asked
        ]
        raise InputError(
            f"columns {', '.join(map(str, first.values)) or '-'} are not what this model reads",
            where=str(path),
            fix=f"It reads {' or '.join(' with '.join(each) for each in needed)}.",
        )
    raise InputError(
        f"columns {', '.join(map(str, first.values)) or '-'} make no known kind of example",
        where=str(path),
        fix="Name them as Moli does, or say which is which: columns: {text: ..., label: ...}.",
    )
