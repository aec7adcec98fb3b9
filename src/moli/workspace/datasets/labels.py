"""Labels of classes: read from a row, and compared whatever type and spelling a file gives them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from moli.records.examples import LocatedExample
from moli.workspace.datasets.fields import RowError, check_encodable

_TRUTH_VALUES = {"false": "0", "true": "1"}
_WHOLE_NUMBER = re.compile(r"([+-]?[0-9]{1,18})(\.0+)?")


class ClassName(str):
    """The name of a class in a data set that numbers its classes.

    Attributes:
        classes: names of all classes, in the order of their numbers.
    """

    classes: tuple[str, ...]

    def __new__(cls, number: int, classes: tuple[str, ...]) -> ClassName:
        name = super().__new__(cls, classes[number])
        name.classes = classes
        return name


def read_label(value: Any, column: str) -> str:
    """The label that a cell holds: a text, a truth value or a whole number.

    A column of whole numbers that lacks some is one of floats to pandas and Arrow, so 1.0 is 1.

    Raises:
        RowError: the cell holds something else, or nothing.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int) or (isinstance(value, float) and value.is_integer()):
        return str(int(value))
    if not isinstance(value, str):
        kind = "null" if value is None else type(value).__name__
        raise RowError(f"'{column}' is {kind}, not text", "Write a string.")
    if not value.strip():
        raise RowError(f"'{column}' is empty", "Fill it in, or remove the row.")
    check_encodable(value, column)
    return value.strip()


def classes_of(value: Any) -> tuple[str, ...]:
    """All classes of a data set that numbers them, by the name of one; else empty."""
    return value.classes if isinstance(value, ClassName) else ()


def label_key(label: str) -> str:
    """The text that all spellings of a label share: "1" for 1, 1.0, true and True."""
    if number := _WHOLE_NUMBER.fullmatch(label):
        return str(int(number[1])) if number[2] else label
    return _TRUTH_VALUES.get(label.lower(), label)


def label_number(label: str) -> int | None:
    """The whole number that a label is; None if it is none. False is 0 and true is 1."""
    number = _WHOLE_NUMBER.fullmatch(label_key(label))
    return int(number[1]) if number else None


def order_labels(labels: Iterable[str]) -> list[str]:
    """Distinct labels in the order of their numbers if all are numbers, else of the alphabet."""
    names = sorted(set(labels))
    numbered = [(number, name) for name in names if (number := label_number(name)) is not None]
    return [name for _, name in sorted(numbered)] if len(numbered) == len(names) else names


def with_one_spelling(
    examples: Sequence[LocatedExample], known: Iterable[str] = ()
) -> tuple[LocatedExample, ...]:
    """The examples with one spelling for each label: the known one, or the shortest that occurs."""
    labels = {label for located in examples for label in located.example.class_labels}
    spellings: dict[str, str] = {}
    for label in (*known, *sorted(labels, key=lambda label: (len(label), label))):
        spellings.setdefault(label_key(label), label)
    changed = {
        label: spelling for label in labels if (spelling := spellings[label_key(label)]) != label
    }
    if not changed:
        return tuple(examples)
    return tuple(
        replace(located, example=located.example.with_labels(changed)) for located in examples
    )
