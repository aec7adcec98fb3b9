"""Names of classes that the library `datasets` keeps apart from the rows, which have numbers."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from moli.records.examples import MalformedRow
from moli.workspace.datasets.fields import Row
from moli.workspace.datasets.labels import ClassName


def class_names_in(folder: Path) -> dict[str, tuple[str, ...]]:
    """Names of the classes of each column, as the folder of a data set describes them."""
    try:
        info = json.loads((folder / "dataset_info.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return class_names(info.get("features") if isinstance(info, dict) else None)


def class_names(features: Any) -> dict[str, tuple[str, ...]]:
    """Names of the classes, in order, for each column in which `datasets` stores class numbers.

    Args:
        features: the description of the columns by `datasets`.
    """
    if not isinstance(features, dict):
        return {}
    named = {}
    for column, feature in features.items():
        # A list of class numbers describes its items inside.
        inner = feature.get("feature", feature) if isinstance(feature, dict) else None
        if isinstance(inner, dict) and inner.get("_type") == "ClassLabel" and inner.get("names"):
            named[column] = tuple(str(name) for name in inner["names"])
    return named


def with_class_names(row: Row, names: Mapping[str, tuple[str, ...]]) -> Row | MalformedRow:
    """The row with names of classes instead of their numbers."""
    values = dict(row.values)
    for column, classes in names.items():
        value = values.get(column)
        numbers: list[Any] = value if isinstance(value, list) else [value]
        if any(not isinstance(number, int) or isinstance(number, bool) for number in numbers):
            continue
        if wrong := [number for number in numbers if not 0 <= number < len(classes)]:
            return MalformedRow(
                row.where,
                f"'{column}' is {wrong[0]}, but the data set has {len(classes)} classes, from 0 on",
                "Give the row a class, or remove it.",
            )
        named = [ClassName(number, classes) for number in numbers]
        values[column] = named if isinstance(value, list) else named[0]
    return Row(row.where, values)
