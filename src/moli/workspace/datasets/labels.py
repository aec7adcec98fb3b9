"""Labels of classes: read from a row, and compared whatever type and spelling a file gives them."""

from __future__ import annotations

import ast
import json
import math
import re
import reprlib
import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from moli.records.examples import Example, LocatedExample, MalformedRow, MultiLabelled
from moli.workspace.datasets.fields import Row, RowError, check_encodable, is_blank, not_text

_MOST_SIMILAR = 10  # groups of similar labels in a warning
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
    if isinstance(value, float) and math.isfinite(value):
        raise RowError(
            f"'{column}' is {value}, no class",
            f"Write a class. A score is for task: reranking or embedding, with "
            f"columns: {{score: {column}}}.",
        )
    if isinstance(value, list):
        raise RowError(
            f"'{column}' is a list of labels", "Use task: multi_label_classification for such rows."
        )
    if not isinstance(value, str):
        raise not_text(column, value)
    if is_blank(value):
        raise RowError(f"'{column}' is empty", "Fill it in, or remove the row.")
    check_encodable(value, column)
    return value.strip()


def read_labels(value: Any, column: str) -> tuple[str, ...]:
    """The labels that a cell holds: a list, the text of a list, one label, or nothing.

    The text of a list is JSON, or as Python prints one.

    Raises:
        RowError: the cell holds something else.
    """
    if value in (None, "", []):
        return ()
    if isinstance(value, str) and value.lstrip().startswith("["):
        value = _list_in(value, column)
    items = value if isinstance(value, list) else [value]
    return tuple(dict.fromkeys(read_label(item, column) for item in items))


def _list_in(text: str, column: str) -> list[Any]:
    """The list that a text is in JSON or in Python.

    Raises:
        RowError: it is neither, as NumPy's ['a' 'b'] without commas, which Python reads as 'ab'.
    """
    for read in (json.loads, ast.literal_eval):
        try:
            value = read(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(value, list) and (read is json.loads or repr(value) == text.strip()):
            return value
    raise RowError(
        f"'{column}' begins like a list, but is none", 'Write ["first", "second"], or one label.'
    )


def split_labels(examples: Sequence[LocatedExample], separator: str) -> tuple[LocatedExample, ...]:
    """The examples with each label split where a separator stands; all unchanged if it is ""."""

    def split(example: Example) -> Example:
        if not separator or not isinstance(example, MultiLabelled):
            return example
        parts = (part.strip() for label in example.labels for part in label.split(separator))
        return replace(example, labels=tuple(dict.fromkeys(filter(None, parts))))

    return tuple(replace(located, example=split(located.example)) for located in examples)


def join_label_columns(
    rows: Sequence[Row | MalformedRow], mapping: Mapping[str, str]
) -> list[Row | MalformedRow]:
    """Rows in which the columns of single labels, with 1 or 0 in them, are one with their names.

    Args:
        mapping: Moli's column names to the data set's. The columns are joined if `labels` is mapped
            to several, with commas between their names.
    """
    joined = mapping.get("labels", "")
    names = tuple(name.strip() for name in joined.split(","))
    if len(names) < 2:
        return list(rows)
    return [
        _join_columns(row, joined, names)
        if isinstance(row, Row) and joined not in row.values and row.values.keys() >= set(names)
        else row
        for row in rows
    ]


def _join_columns(row: Row, joined: str, names: tuple[str, ...]) -> Row | MalformedRow:
    """A row with the list of those labels whose columns have 1."""
    labels: list[str] = []
    for number, name in enumerate(names):
        key = label_key(str(row.values[name]).strip())
        if key not in ("0", "1"):
            what = f"'{name}' is {reprlib.repr(row.values[name])}, neither 1 nor 0"
            return MalformedRow(row.where, what, "Write 1 if the label applies, else 0.")
        if key == "1":
            labels.append(ClassName(number, names))
    return Row(row.where, {**row.values, joined: labels})


def classes_of(value: Any) -> tuple[str, ...]:
    """All classes of a data set that numbers them, by the name of one or a list; else empty."""
    names = value if isinstance(value, list) else [value]
    return next((name.classes for name in names if isinstance(name, ClassName)), ())


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


def describe_similar(labels: Iterable[str]) -> str:
    """A warning of labels that a reader takes for one, as 'Good' and 'good'; "" without any."""
    groups: dict[str, list[str]] = defaultdict(list)
    for label in labels:
        folded = unicodedata.normalize("NFKC", label).casefold()
        groups["".join(folded.split())].append(label)
    similar = [" = ".join(f"'{label}'" for label in each) for each in groups.values() if each[1:]]
    if not similar:
        return ""
    shown = "; ".join(similar[:_MOST_SIMILAR])
    return f"labels that differ only in case, spaces or Unicode form: {shown}"


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
