"""Rows, their values, and errors for those that cannot be used."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One row as it stands in its file."""

    where: str
    values: dict[str, Any]


class Values(dict[str, Any]):
    """A row's values by Moli's names for its columns.

    Args:
        names: what the columns are called in the data set, where that is another name.
    """

    def __init__(self, values: Mapping[str, Any], names: Mapping[str, str]) -> None:
        super().__init__(values)
        self._names = names

    def name(self, column: str) -> str:
        """A column's name in the data set, by which it is told of."""
        return self._names.get(column, column)


class Unfit(Exception):  # noqa: N818 - it is a finding, and is told as one
    """A row's values do not make an example: the problem, and the fix."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what, fix)
        self.what, self.fix = what, fix


def text_of(values: Values, column: str, *, empty: bool = False) -> str:
    """The text in a column.

    Args:
        empty: whether it may be blank.

    Raises:
        Unfit: there is none, or none that can be learnt.
    """
    value, name = values[column], values.name(column)
    if not isinstance(value, str):
        kind = "null" if value is None else type(value).__name__
        raise Unfit(f"'{name}' is {kind}, not text", "Write a string.")
    if not empty and not value.strip():
        raise Unfit(f"'{name}' is empty", "Fill it in, or remove the row.")
    encodable(value, name)
    return value


def encodable(value: str, where: str) -> None:
    """Check that a text has whole characters only: JSON can spell halves, which tokenizers reject.

    Raises:
        Unfit: it is not.
    """
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise Unfit(
            f"'{where}' contains half a character (a lone surrogate)",
            "Correct the escapes; one character is, for example, \\ud83d\\ude00.",
        ) from error
