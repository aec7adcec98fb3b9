"""Data sets as people have them, read to examples with nothing dropped unsaid.

dataset = read_dataset(Path("tickets.jsonl"))
dataset.examples, dataset.malformed
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from moli.records.errors import InputError
from moli.records.examples import Located, Malformed
from moli.workspace.datasets.rows import Row, read_rows
from moli.workspace.datasets.shapes import SHAPES, Shape, shape_of

__all__ = ["Dataset", "read_dataset"]


@dataclass(frozen=True, slots=True)
class Dataset:
    """All rows of a data set: those that are examples and those that are not, in file order."""

    path: Path
    shape: str
    examples: tuple[Located, ...]
    malformed: tuple[Malformed, ...]


def read_dataset(
    path: Path,
    *,
    columns: Mapping[str, str] | None = None,
    labels: Sequence[str] = (),
    shape: str = "",
) -> Dataset:
    """Read a file (JSONL, JSON, CSV, TSV, Parquet, Arrow) or a folder of them.

    Args:
        columns: names that the data set has for Moli's columns, as {"text": "body"}.
        labels: the only labels there may be; by default, whatever labels there are.
        shape: one of the names in SHAPES; by default, the shape of the first row that has one.

    Raises:
        InputError: nothing can be read there, or no row has a shape that is known.
    """
    rows = [_renamed(row, columns or {}) for row in read_rows(path)]
    if not rows:
        raise InputError("the data set is empty", where=str(path), fix="Add a row.")
    found = _named(shape) if shape else _detected(path, rows)
    examples: list[Located] = []
    malformed: list[Malformed] = []
    for row in rows:
        read = found.example(row, labels) if isinstance(row, Row) else row
        if isinstance(read, Malformed):
            malformed.append(read)
        else:
            examples.append(Located(row.where, read))
    return Dataset(path, found.name, tuple(examples), tuple(malformed))


def _renamed(row: Row | Malformed, columns: Mapping[str, str]) -> Row | Malformed:
    if isinstance(row, Malformed) or not columns:
        return row
    named = {our: row.values[their] for our, their in columns.items() if their in row.values}
    return Row(row.where, row.values | named)


def _named(name: str) -> Shape:
    for shape in SHAPES:
        if shape.name == name:
            return shape
    raise InputError(
        f"no shape is called '{name}'", fix=f"There are: {', '.join(s.name for s in SHAPES)}."
    )


def _detected(path: Path, rows: Sequence[Row | Malformed]) -> Shape:
    for row in rows:
        if isinstance(row, Row) and (shape := shape_of(row.values)):
            return shape
    first = rows[0]
    if isinstance(first, Malformed):
        raise InputError(first.what, where=first.where, fix=first.fix)
    raise InputError(
        f"columns {', '.join(map(str, first.values)) or '-'} make no known kind of example",
        where=str(path),
        fix="Name them as Moli does, or say which is which: columns: {text: ..., label: ...}.",
    )
