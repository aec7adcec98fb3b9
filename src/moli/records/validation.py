"""pydantic's errors in plain words."""

from __future__ import annotations

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
    "literal_error": "must be {expected}",
    "value_error": "{error}",
    "union_tag_invalid": "{discriminator} must be one of {expected_tags}",
    "union_tag_not_found": "{discriminator} is missing",
}


def describe_value_errors(errors: Sequence[Mapping[str, Any]]) -> str:
    """The problem with one value in words, such as "must be a text or a list".

    Args:
        errors: all of pydantic's errors for the value: several if it may be of several types, of
            which the first is described if they do not all say what the value should be.
    """
    kinds = {str(each["type"]) for each in errors}
    if kinds <= _EXPECTED.keys():
        expected = [_EXPECTED[str(each["type"])] for each in errors]
    elif kinds == {"literal_error"}:
        expected = [str(each["ctx"]["expected"]) for each in errors]
    else:
        return _describe(errors[0])
    return f"must be {' or '.join(dict.fromkeys(expected))}"


def _describe(error: Mapping[str, Any]) -> str:
    """One error."""
    kind = str(error["type"])
    if kind in _EXPECTED:
        return f"must be {_EXPECTED[kind]}"
    if error.get("ctx", {}).get("min_length") == 1:
        return "must not be empty"
    if kind in _MESSAGES:
        return _MESSAGES[kind].format(**error.get("ctx", {}))
    return str(error.get("msg", "cannot be read"))
