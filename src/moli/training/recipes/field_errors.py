"""Errors for the keys and values of recipes, in plain words and with what to do."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ValidationError

from moli.records.errors import InputError
from moli.records.validation import describe_value_errors
from moli.workspace.datasets.fields import in_yaml

# What other programs call a key, each with its names here.
_OTHER_NAMES: Mapping[str, tuple[str, ...]] = {
    "data": ("prompts",),
    "dataset": ("data", "prompts"),
    "lora_r": ("rank",),
    "lr": ("learning_rate",),
    "model": ("base",),
    "r": ("rank",),
}


def check_known_keys(
    values: Mapping[str, Any],
    model: type[BaseModel],
    where: str,
    options: Collection[str] = (),
) -> None:
    """Check that a recipe has only keys that its model has.

    Args:
        where: the file or option that errors name.
        options: names of options, which stand under the key `options`.

    Raises:
        InputError: a key is unknown; its place or the nearest known one is named.
    """
    for key in values:
        if key in model.model_fields:
            continue
        if key in options:
            others = values.get("options")
            line = {**(others if isinstance(others, Mapping) else {}), key: values[key]}
            fix = f"It is an option. Write it as `options: {in_yaml(line)}`."
        else:
            fix = _key_advice(str(key), list(model.model_fields))
        raise InputError(f"unknown key '{key}'", where=where, fix=fix)


def _key_advice(key: str, known: Sequence[str]) -> str:
    """The key that was meant, or all of them."""
    near = [name for name in _OTHER_NAMES.get(key, ()) if name in known]
    near = near or difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    return f"Did you mean '{near[0]}'?" if near else f"Keys: {', '.join(known)}."


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
