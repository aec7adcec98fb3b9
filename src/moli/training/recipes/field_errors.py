"""Errors for the keys and values of recipes, in plain words and with what to do."""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

from pydantic import BaseModel, ValidationError

from moli.records.errors import InputError
from moli.records.validation import describe_value_errors


def check_known_keys(values: Mapping[str, Any], model: type[BaseModel], where: str) -> None:
    """Check that a recipe has only keys that its model has.

    Args:
        where: the file or option that errors name.

    Raises:
        InputError: a key is unknown; the nearest known one is named.
    """
    for key in values:
        if key not in model.model_fields:
            near = difflib.get_close_matches(str(key), model.model_fields, n=1, cutoff=0.5)
            fix = (
                f"Did you mean '{near[0]}'?" if near else f"Keys: {', '.join(model.model_fields)}."
            )
            raise InputError(f"unknown key '{key}'", where=where, fix=fix)


def explain_value_error(
    error: ValidationError, values: Mapping[str, Any], model: type[BaseModel], where: str
) -> InputError:
    """The error for a value that cannot be used, in plain words and with its place."""
    first, *others = error.errors()
    key, *inner = first["loc"]
    fix = f"{key}: {model.model_fields[str(key)].description}."
    if first["type"] == "missing":
        return InputError(f"'{key}' is missing", where=where, fix=fix)
    value = values[str(key)]
    is_inner = isinstance(value, Mapping) and inner and inner[0] in value  # else a union's branch
    name = f"{key}.{inner[0]}" if is_inner else str(key)
    same = [first, *(each for each in others if each["loc"][0] == key)]
    return InputError(
        f"'{name}' is {first['input']!r}: {describe_value_errors(same)}", where=where, fix=fix
    )
