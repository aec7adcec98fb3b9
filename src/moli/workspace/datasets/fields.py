"""Rows, the values of their columns, and the error for values that make no example."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a data file, unchanged.

    Attributes:
        where: the row's origin, `file:line` or `file row n`.
        values: column names to values.
    """

    where: str
    values: dict[str, Any]


class Values(dict[str, Any]):
    """A row's values by Moli's names for its columns.

    Args:
        names: Moli's column names to the data set's, where they differ.
    """

    def __init__(self, values: Mapping[str, Any], names: Mapping[str, str]) -> None:
        super().__init__(values)
        self._names = names

    def name(self, column: str) -> str:
        """The data set's name for a column, to use in messages."""
        return self._names.get(column, column)


class RowError(Exception):
    """A row's values do not make an example: the problem, and the fix."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what, fix)
        self.what, self.fix = what, fix


def text_of(values: Values, column: str, *, empty: bool = False) -> str:
    """The text in a column.

    Args:
        empty: whether a blank text is allowed.

    Raises:
        RowError: the value is no text, is blank, or cannot be encoded.
    """
    value, name = values[column], values.name(column)
    if not isinstance(value, str):
        kind = "null" if value is None else type(value).__name__
        raise RowError(f"'{name}' is {kind}, not text", "Write a string.")
    if not empty and not value.strip():
        raise RowError(f"'{name}' is empty", "Fill it in, or remove the row.")
    check_encodable(value, name)
    return value


def check_encodable(text: str, where: str) -> None:
    """Check that a text has no lone surrogates: JSON can spell them, and tokenizers reject them.

    Raises:
        RowError: the text has one.
    """
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise RowError(
            f"'{where}' contains half a character (a lone surrogate)",
            "Correct the escapes; one character is, for example, \\ud83d\\ude00.",
        ) from error
