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
    return {
        column: tuple(str(name) for name in feature["names"])
        for column, feature in features.items()
        if isinstance(feature, dict)
        and feature.get("_type") == "ClassLabel"
        and feature.get("names")
    }


def with_class_names(row: Row, names: Mapping[str, tuple[str, ...]]) -> Row | MalformedRow:
    """The row with names of classes instead of their numbers."""
    values = dict(row.values)
    for column, classes in names.items():
        number = values.get(column)
        if not isinstance(number, int) or isinstance(number, bool):
            continue
        if not 0 <= number < len(classes):
            return MalformedRow(
                row.where,
                f"'{column}' is {number}, but the data set has {len(classes)} classes, from 0 on",
                "Give the row a class, or remove it.",
            )
        values[column] = ClassName(number, classes)
    return Row(row.where, values)
