"""Formats of data sets: the columns that a row must have, and how an example is read from them."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from moli.records.examples import Example, MalformedRow
from moli.workspace.datasets.fields import Row, RowError, Values


@dataclass(frozen=True, slots=True)
class DatasetFormat:
    """A format that data sets have.

    Attributes:
        columns: Moli's names of the columns that a row must have, each with its alternative names.
        read: reads an example from a row's values by Moli's names; raises RowError.
        optional: Moli's names of further columns that `read` uses.
        complete: adds what a row that is only a question lacks for `read`, where a placeholder for
            a column is not enough.
    """

    name: str
    columns: Mapping[str, tuple[str, ...]]
    read: Callable[[Values], Example]
    optional: tuple[str, ...] = ()
    complete: Callable[[Mapping[str, Any]], Mapping[str, Any]] = dict

    def names_in(self, row: Mapping[str, Any], mapping: Mapping[str, str]) -> dict[str, str]:
        """The name of each column in a row, without columns that the row does not have.

        Args:
            mapping: Moli's column names to the data set's, as the user gave them.
        """
        names = {}
        for column in self.columns:
            possible = (name for name in self._possible_names(column, mapping) if name in row)
            if (name := next(possible, None)) is not None:
                names[column] = name
        return names

    def example(
        self,
        row: Row,
        mapping: Mapping[str, str],
        usual: Mapping[str, str],
        placeholders: Mapping[str, Any] | None = None,
    ) -> Example | MalformedRow:
        """The example in a row, or the reason why there is none.

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
            return self.read(Values(values, names))
        except RowError as error:
            return MalformedRow(row.where, error.what, error.fix)

    def _possible_names(self, column: str, mapping: Mapping[str, str]) -> list[str]:
        """Names that a column may have in the data set: the mapped ones only, if there are any."""
        known = (column, *self.columns[column])
        return [mapping[name] for name in known if name in mapping] or [
            name for name in known if name not in mapping.values()
        ]


def _missing_column(column: str, row: Mapping[str, Any]) -> RowError:
    """The error for a row without a column; it suggests a similar one to rename."""
    near = difflib.get_close_matches(column, [key for key in row if isinstance(key, str)], n=1)
    hint = f"Rename '{near[0]}'." if near else f"The row has: {', '.join(map(str, row)) or '-'}."
    return RowError(f"'{column}' is missing", hint)
