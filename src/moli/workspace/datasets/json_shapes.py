"""The shapes in which programs write a whole table as one JSON value."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from moli.workspace.datasets.conversations import is_turn
from moli.workspace.datasets.detection import format_of
from moli.workspace.datasets.folders import Part, are_splits, choose_split

PlacedRow = tuple[str, Any]  # the place of a row, such as "row 3", and the row


def rows_in(value: Any, part: Part | None = None) -> Iterable[PlacedRow] | None:
    """The rows in a JSON value, each with its place; None if there is no list of rows in it.

    Read are lists of rows, objects with such a list, a single row, columns of equal length (as
    objects or as lists), rows by their key, the layouts of pandas, and SQuAD's own file; and all of
    these as splits by name.

    Args:
        part: the part of the data to read if the value holds splits; None reads all.
    """
    if isinstance(value, dict) and are_splits(value):
        chosen = [choose_split(value, part)] if part else list(value)
        return _rows_of_splits({name: value[name] for name in chosen if name})
    if isinstance(value, list):
        return _numbered(_flat_squad(value) if _is_squad(value) else value)
    if not isinstance(value, dict):
        return None
    if (table := _columns(value)) is not None:
        return _numbered(table)
    lists = [item for item in value.values() if isinstance(item, list)]
    rows: Any = value.get("data", lists[0] if len(lists) == 1 else None)
    if _is_squad(rows):
        return _numbered(_flat_squad(rows))
    first = rows[0] if isinstance(rows, list) and rows else None
    # A list of turns is no list of rows, though a turn's content could pass for a text.
    if isinstance(first, dict) and isinstance(first.get("row"), dict) and "row_idx" in first:
        return _numbered(entry["row"] for entry in rows)  # as the hub's viewer gives them
    if isinstance(first, dict) and not is_turn(first) and format_of(first, {}):
        return _numbered(rows)
    if is_turn(first) or format_of(value, {}):
        return _numbered([value])
    if all(isinstance(item, dict) for item in value.values()) and value:
        return ((f"row '{key}'", row) for key, row in value.items())
    return _numbered(rows) if isinstance(rows, list) else None


def _rows_of_splits(splits: Mapping[str, Any]) -> Iterator[PlacedRow] | None:
    """The rows of splits, one after another; None if one of them is no list of rows."""
    tables = {name: rows_in(split) for name, split in splits.items()}
    if None in tables.values():
        return None
    return ((f"{name} {place}", row) for name, rows in tables.items() for place, row in rows or ())


def _numbered(rows: Iterable[Any]) -> Iterator[PlacedRow]:
    """Rows with their numbers as places."""
    return ((f"row {number}", row) for number, row in enumerate(rows, 1))


def _columns(value: Mapping[str, Any]) -> list[dict[str, Any]] | None:
    """The rows of an object that holds columns, as pandas writes a table; None if it holds none."""
    match value:
        case {"columns": [*names], "data": [[*_], *_] as rows}:
            return [dict(zip(map(str, names), row, strict=False)) for row in rows]
    columns = list(value.values())
    if columns and all(isinstance(column, dict) and column for column in columns):
        keys = columns[0].keys()
        is_table = all(column.keys() == keys for column in columns)
        if is_table and (format_of(value, {}) or all(str(key).isdigit() for key in keys)):
            return [{name: column[key] for name, column in value.items()} for key in keys]
    elif columns and all(isinstance(column, list) and column for column in columns):
        first = {name: column[0] for name, column in value.items()}
        is_table = len({len(column) for column in columns}) == 1
        is_list_of_rows = any(isinstance(item, dict) for item in first.values())
        is_flat = not any(isinstance(item, list) for item in first.values())
        if is_table and not is_list_of_rows and (is_flat or format_of(first, {})):
            return [dict(zip(value, row, strict=True)) for row in zip(*columns, strict=True)]
    return None


def _is_squad(rows: Any) -> bool:
    """Whether rows are the articles or the paragraphs of SQuAD's own file."""
    first = rows[0] if isinstance(rows, list) and rows else None
    return isinstance(first, dict) and (
        isinstance(first.get("paragraphs"), list)
        or (isinstance(first.get("qas"), list) and "context" in first)
    )


def _flat_squad(rows: Iterable[Any]) -> Iterator[Any]:
    """A row for each question of SQuAD's articles and paragraphs, with its context."""
    for entry in rows:
        match entry:
            case {"paragraphs": [*paragraphs]}:
                yield from _flat_squad(paragraphs)
            case {"context": context, "qas": [*questions]}:
                for question in questions:
                    more = question if isinstance(question, dict) else {}
                    yield {"answers": [], **more, "context": context}
            case _:
                yield entry
