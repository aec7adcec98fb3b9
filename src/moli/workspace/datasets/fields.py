"""Rows, the values of their columns, and the error for values that make no example."""

from __future__ import annotations

import json
import math
import re
import reprlib
from collections.abc import Mapping, Sequence
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

    def with_columns(self, columns: Mapping[str, Any], names: Mapping[str, str]) -> Values:
        """The values with other ones for some columns, and the data set's names for these."""
        return Values({**self, **columns}, {**self._names, **names})


class RowError(Exception):
    """A row's values do not make an example: the problem, and the fix."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what, fix)
        self.what, self.fix = what, fix


# Anything but spaces and the characters that have no width.
_VISIBLE = re.compile(r"[^\s\u200b-\u200f\u2060\ufeff]")

# A text that needs no quotes in YAML.
_PLAIN = re.compile(r"(?!(?i:true|false|null)$)[^\W\d][\w.\-]*")


def is_blank(text: str) -> bool:
    """Whether a text has nothing to see."""
    return not _VISIBLE.search(text)


def kind_of(value: Any) -> str:
    """The kind of a value in words, such as "a number"."""
    match value:
        case None:
            return "null"
        case str():
            return "text"
        case bool():
            return "a truth value"
        case int() | float():
            return "a number"
        case list() | tuple():
            return "a list"
        case dict():
            return "an object"
        case bytes():
            return "bytes"
    return f"a {type(value).__name__.lower()}"


def in_yaml(value: Any) -> str:
    """A text, number, list or mapping as YAML on one line; a list of one value is the value."""
    if isinstance(value, str):
        return value if _PLAIN.fullmatch(value) else json.dumps(value, ensure_ascii=False)
    if isinstance(value, Mapping):
        return f"{{{', '.join(f'{in_yaml(key)}: {in_yaml(each)}' for key, each in value.items())}}}"
    if isinstance(value, Sequence):
        return in_yaml(value[0]) if len(value) == 1 else f"[{', '.join(map(in_yaml, value))}]"
    return str(value)


def text_of(values: Values, column: str, *, empty: bool = False) -> str:
    """The text in a column.

    Args:
        empty: whether a blank text is allowed.

    Raises:
        RowError: the value is no text, is blank, or cannot be encoded.
    """
    value, name = values[column], values.name(column)
    if not isinstance(value, str):
        raise not_text(name, value)
    if not empty and is_blank(value):
        raise RowError(f"'{name}' is empty", "Fill it in, or remove the row.")
    check_encodable(value, name)
    return value


def number_of(values: Values, column: str) -> float:
    """The finite number in a column, which may be written as text.

    Raises:
        RowError: the value is no number, or is too large.
    """
    try:
        number = float(values[column])
    except (TypeError, ValueError):
        number = math.nan
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        shown = reprlib.repr(values[column])  # a text of any length, or hundreds of digits
        fault = "not a number" if math.isnan(number) else "too large"
        raise RowError(f"'{values.name(column)}' is {shown}, {fault}", "Write a number.")
    return number


def not_text(name: str, value: Any) -> RowError:
    """The error for a column whose value is no text."""
    if value is None or value != value:  # NaN, as pandas writes for an empty cell
        return RowError(f"'{name}' is empty", "Fill it in, or remove the row.")
    return RowError(f"'{name}' is {kind_of(value)}, not text", "Write it as text.")


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
