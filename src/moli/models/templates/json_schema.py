"""JSON schemas as parts of a grammar, in the form that llguidance follows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from moli.records.errors import InputError
from moli.records.messages import Tool

# White space as json.dumps writes it. Where it is free, a weak model writes endless spaces.
JSON_WHITESPACE: Any = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
}
# In a schema with no other keywords, a property that is not named is one the tool does not know.
_PLAIN_KEYWORDS = {"type", "properties", "required", "title", "description", "$defs", "$schema"}
# Keywords with a schema, a list of schemas, and schemas by name.
_SCHEMA = ("items", "additionalItems", "additionalProperties", "not", "if", "then", "else")
_SCHEMAS = ("anyOf", "oneOf", "allOf", "prefixItems")
_NAMED_SCHEMAS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
# With these values a keyword restricts nothing.
_IDLE = {"uniqueItems": False, "minProperties": 0, "minContains": 0, "unevaluatedProperties": True}
# llguidance follows these formats; any other is a remark, as the standard says.
_FORMATS = {
    "date", "date-time", "duration", "email", "hostname", "ipv4", "ipv6", "time", "unknown",
    "uri", "uuid",
}  # fmt: skip
_MAX_DEPTH = 8  # references that are followed in turn; they may go in circles


def lark_json(schema: Mapping[str, Any]) -> str:
    """An expression in llguidance's dialect of Lark that matches JSON by a schema."""
    return f"%json {json.dumps({**schema, 'x-guidance': JSON_WHITESPACE})}"


def arguments_schema(tool: Tool) -> dict[str, Any]:
    """The schema of a tool's arguments; a plain list of properties allows no others."""
    schema = followable_schema({"type": "object", **tool.parameters}, strict=tool.strict)
    if "properties" in schema and schema.keys() <= _PLAIN_KEYWORDS:
        schema["additionalProperties"] = False
    return schema


def followable_schema(schema: Mapping[str, Any], *, strict: bool = False) -> dict[str, Any]:
    """A schema with the same meaning that llguidance can follow in more cases.

    Keywords that restrict nothing are dropped, and `oneOf` becomes `anyOf` where one property
    tells its branches apart. Keywords that cannot be followed stay, and are refused later.

    Args:
        strict: whether an object has no other properties than its schema names.

    Raises:
        InputError: it is nested too deeply.
    """
    try:
        return dict(_rewrite(schema, schema, strict=strict))
    except RecursionError:
        raise InputError("the JSON schema is nested too deeply", fix="Simplify it.") from None


def _rewrite(schema: Any, root: Mapping[str, Any], *, strict: bool) -> Any:
    """The schema with all that it contains rewritten; anything else than a schema as it is."""
    if not isinstance(schema, Mapping):
        return schema
    result = {
        name: value
        for name, value in schema.items()
        if not (name in _IDLE and value == _IDLE[name])
        and not (name == "format" and str(value) not in _FORMATS)
    }
    for name in result.keys() & set(_SCHEMA):
        result[name] = _rewrite(result[name], root, strict=strict)
    for name in result.keys() & set(_SCHEMAS):
        if isinstance(branches := result[name], Sequence) and not isinstance(branches, str):
            # Parts of one object: what one of them does not name, another one may.
            closing = strict and name != "allOf"
            result[name] = [_rewrite(each, root, strict=closing) for each in branches]
    for name in result.keys() & set(_NAMED_SCHEMAS):
        if isinstance(named := result[name], Mapping):
            result[name] = {key: _rewrite(each, root, strict=strict) for key, each in named.items()}
    if strict and (result.get("type") == "object" or "properties" in result):
        result.setdefault("additionalProperties", False)
    tag = _telling_property(result.get("oneOf"), root)
    if tag and "anyOf" not in result:
        result["anyOf"] = [{"allOf": [each, {"required": [tag]}]} for each in result.pop("oneOf")]
    return result


def _telling_property(branches: Any, root: Mapping[str, Any]) -> str:
    """A property whose values tell the branches of a `oneOf` apart; "" if there is none."""
    if not isinstance(branches, list) or not branches:
        return ""
    values = [_fixed_values(each, root) for each in branches]
    for name in values[0]:
        if all(name in each for each in values):
            sets = [each[name] for each in values]
            if len(set().union(*sets)) == sum(map(len, sets)):
                return name
    return ""


def _fixed_values(schema: Any, root: Mapping[str, Any]) -> dict[str, set[str]]:
    """The values, as JSON, of the properties for which a schema lists them."""
    for _ in range(_MAX_DEPTH):
        if not isinstance(schema, Mapping) or not isinstance(schema.get("$ref"), str):
            break
        group, _, name = schema["$ref"].removeprefix("#/").partition("/")
        definitions = root.get(group)
        schema = definitions.get(name) if isinstance(definitions, Mapping) else None
    properties = schema.get("properties") if isinstance(schema, Mapping) else None
    if not isinstance(properties, Mapping):
        return {}
    listed = {}
    for name, value in properties.items():
        if isinstance(value, Mapping) and ("const" in value or isinstance(value.get("enum"), list)):
            values = [value["const"]] if "const" in value else value["enum"]
            listed[name] = {json.dumps(item, sort_keys=True) for item in values}
    return listed
