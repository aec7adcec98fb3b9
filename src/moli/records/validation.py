"""pydantic's errors in plain words."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

_EXPECTED = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_parsing": "a whole number",
    "int_parsing_size": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "float_parsing": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "path_type": "a path",
    "dict_type": "an object",
    "model_type": "an object",
    "model_attributes_type": "an object",
    "dataclass_type": "an object",
}
_CONSTANTS = {"False": "false", "True": "true", "None": "null"}  # as JSON and YAML have them
# Words for the other kinds of errors, with what pydantic says of each in `ctx`.
_MESSAGES = {
    "missing": "is missing",
    "extra_forbidden": "is not a field of this request",
    "string_too_long": "may have at most {max_length} characters",
    "string_too_short": "must have at least {min_length} characters",
    "string_pattern_mismatch": "must match {pattern}",
    "too_long": "may have at most {max_length} entries",
    "too_short": "must have at least {min_length} entries",
    "greater_than": "must be more than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "value_error": "{error}",
}


def describe_value_errors(errors: Sequence[Mapping[str, Any]]) -> str:
    """The problem with one value in words, such as "must be a text or a list".

    Args:
        errors: all of pydantic's errors for the value: several if it may be of several types. The
            first is described, with what others of its kind say that the value may be.
    """
    first = errors[0]
    if is_type_error(first):
        expected = dict.fromkeys(_EXPECTED[str(e["type"])] for e in errors if is_type_error(e))
        return f"must be {' or '.join(expected)}"
    if first["type"] == "literal_error":
        literals = [each for each in errors if each["type"] == "literal_error"]
        options = dict.fromkeys(option for each in literals for option in _options(each))
        return f"must be {'one of ' if len(options) > 1 else ''}{', '.join(options)}"
    return _describe(first)


def is_type_error(error: Mapping[str, Any]) -> bool:
    """Whether an error says that a value is of the wrong type."""
    return str(error["type"]) in _EXPECTED


def _options(error: Mapping[str, Any]) -> list[str]:
    """The values that may be written where an error says that another one may not."""
    options = re.split(", | or ", str(error["ctx"]["expected"]))
    return [_CONSTANTS.get(option, option) for option in options]


def _describe(error: Mapping[str, Any]) -> str:
    """An error that says neither what type nor what values there may be."""
    kind, context = str(error["type"]), error.get("ctx", {})
    if context.get("min_length") == 1:
        return "must not be empty"
    # A limit behind another check has the same name for texts and for lists.
    if isinstance(error.get("input"), str) and kind in ("too_long", "too_short"):
        kind = f"string_{kind}"
    if kind in _MESSAGES:
        return _MESSAGES[kind].format(**context)
    return str(error.get("msg", "cannot be read"))
