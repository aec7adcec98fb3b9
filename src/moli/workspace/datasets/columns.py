"""Formats of data sets: the columns that a row must have, and how an example is read from them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

from moli.records.examples import Example, MalformedRow
from moli.workspace.datasets.fields import Row, RowError, Values


@dataclass(frozen=True, slots=True)
class DatasetFormat:
    """A format that data sets have.

    Attributes:
        kind: the kind of example that its rows are.
        columns: Moli's names of the columns that a row must have, each with its alternative names.
        read: reads the example, or the several ones, in a row's values by Moli's names; raises
            RowError.
        optional: Moli's names of further columns that `read` uses, with their alternative names.
        complete: adds what a row that is only a question lacks for `read`, where a placeholder for
            a column is not enough.
    """

    name: str
    kind: type[Example]
    columns: Mapping[str, tuple[str, ...]]
    read: Callable[[Values], Example | tuple[Example, ...]]
    optional: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    complete: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict

    @property
    def known_names(self) -> set[str]:
        """All names by which the format knows a column, which a user may map."""
        columns = {**self.columns, **self.optional}
        return {*columns, *(name for names in columns.values() for name in names)}

    def names_in(self, row: Mapping[str, Any], mapping: Mapping[str, str]) -> dict[str, str]:
        """The name of each column in a row, without columns that the row does not have.

        Args:
            mapping: Moli's column names to the data set's, as the user gave them.
        """
        names = {}
        for column in (*self.columns, *self.optional):
            possible = self._possible_names(column, mapping)
            if name := same_name(possible, row):
                names[column] = name
        return names

    def examples(
        self,
        row: Row,
        mapping: Mapping[str, str],
        usual: Mapping[str, str],
        placeholders: Mapping[str, Any] | None = None,
    ) -> tuple[Example, ...] | MalformedRow:
        """The examples in a row, usually one, or the reason why there is none.

        Args:
            mapping: Moli's column names to the data set's, as the user gave them.
            usual: names of the columns in other rows, for messages about missing ones.
            placeholders: for rows that are questions: values for columns that are missing or empty.
        """
        names = {**mapping, **self.names_in(row.values, mapping)}
        used = {*names, *names.values(), *self.columns}
        values: Mapping[str, Any] = {
            **{name: value for name, value in row.values.items() if name not in used},
            **{ours: row.values[name] for ours, name in names.items() if name in row.values},
        }
        if placeholders is not None:
            missing = {
                name: value
                for name, value in placeholders.items()
                if values.get(name) in (None, "")
            }
            values = self.complete({**values, **missing})
        try:
            for column in self.columns:
                if column not in values:
                    possible = self._possible_names(column, mapping)
                    raise _missing_column(
                        usual.get(column) or next(iter(possible), column), row.values
                    )
            read = self.read(Values(values, names))
            return (read,) if isinstance(read, Example) else read
        except RowError as error:
            return MalformedRow(row.where, error.what, error.fix)

    def _possible_names(self, column: str, mapping: Mapping[str, str]) -> Sequence[str]:
        """Names that a column may have in the data set: the mapped ones only, if there are any."""
        known = (column, *(self.columns.get(column) or self.optional.get(column) or ()))
        if not mapping:
            return known
        return [mapping[name] for name in known if name in mapping] or [
            name for name in known if name not in mapping.values()
        ]


def same_name(names: Iterable[str], row: Mapping[str, Any]) -> str | None:
    """The first of some names that a row has; if it has none, one that differs in case or spaces.

    So `Text`, ` text ` and `TEXT` are all read as `text`.
    """
    names = tuple(names)
    if exact := next((name for name in names if name in row), None):
        return exact
    folded = _folded_names(tuple(row))
    return next((folded[name.casefold()] for name in names if name.casefold() in folded), None)


@lru_cache(maxsize=64)  # the rows of a file have the same columns
def _folded_names(names: tuple[Any, ...]) -> Mapping[str, str]:
    """Names of columns by their form without differences in case and spaces around them."""
    return {name.strip().casefold(): name for name in names if isinstance(name, str)}


def _missing_column(column: str, row: Mapping[str, Any]) -> RowError:
    """The error for a row without a column; it suggests a similar one to rename."""
    near = difflib.get_close_matches(column, [key for key in row if isinstance(key, str)], n=1)
    hint = f"Rename '{near[0]}'." if near else f"The row has: {', '.join(map(str, row)) or '-'}."
    return RowError(f"'{column}' is missing", hint)
