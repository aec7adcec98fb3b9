"""JSON schemas as parts of a grammar, in the form that llguidance follows."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moli.records.errors import InputError
from moli.records.messages import Tool

# White space as json.dumps writes it. Where it is free, a weak model writes endless spaces.
JSON_WHITESPACE: Any = {
    "whitespace_flexible": False,
    "item_separator": ", ",
    "key_separator": ": ",
}
# Beside these keywords, other schemas have a say in what properties there are.
_COMBINED = {"allOf", "anyOf", "oneOf", "$ref", "if", "patternProperties"}
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
    """The schema of a tool's arguments, which are an object."""
    return followable_schema({"type": "object", **tool.parameters}, strict=tool.strict)


def followable_schema(schema: Mapping[str, Any], *, strict: bool = False) -> dict[str, Any]:
    """A schema for the same values, or some of them, that llguidance can follow in more cases.

    Keywords that restrict nothing are dropped, and `oneOf` becomes `anyOf` where one property
    tells its branches apart, or they are ranges of numbers that do not overlap. Keywords that
    cannot be followed stay, and are refused later. An object has only the properties that are
    listed, unless `additionalProperties` says otherwise: a weak model would not stop to invent
    others.

    Args:
        strict: whether an object for which no properties are listed has none.

    Raises:
        InputError: it is nested too deeply.
    """
    try:
        is_extended = '"allOf"' in json.dumps(schema)
        return dict(_Rewriting(schema, strict, is_extended).rewrite(schema))
    except RecursionError:
        raise InputError("the JSON schema is nested too deeply", fix="Simplify it.") from None


@dataclass(frozen=True, slots=True)
class _Rewriting:
    """The rewriting of a schema with all that it contains.

    Attributes:
        is_extended: whether definitions may be parts of larger objects, with more properties.
    """

    root: Mapping[str, Any]
    strict: bool
    is_extended: bool

    def rewrite(self, schema: Any, *, close: bool = True) -> Any:
        """The schema rewritten; anything else than a schema as it is.

        Args:
            close: whether an object may have no other properties than those that are listed.
        """
        if not isinstance(schema, Mapping):
            return schema
        result = {
            name: value
            for name, value in schema.items()
            if not (name in _IDLE and value == _IDLE[name])
            and not (name == "format" and str(value) not in _FORMATS)
        }
        for name in result.keys() & set(_SCHEMA):
            result[name] = self.rewrite(result[name])
        for name in result.keys() & set(_SCHEMAS):
            if isinstance(branches := result[name], list):
                closing = name == "prefixItems" or (close and self._closes_branches(name, schema))
                result[name] = [self.rewrite(branch, close=closing) for branch in branches]
        for name in result.keys() & set(_NAMED_SCHEMAS):
            if isinstance(named := result[name], Mapping):
                closing = name in ("properties", "patternProperties") or not self.is_extended
                result[name] = {
                    key: self.rewrite(value, close=closing) for key, value in named.items()
                }
        lists_all = "properties" in result or (self.strict and result.get("type") == "object")
        if close and lists_all and not result.keys() & _COMBINED:
            result.setdefault("additionalProperties", False)
        tag = _telling_property(result.get("oneOf"), self.root)
        if tag and "anyOf" not in result:
            result["anyOf"] = [{"allOf": [b, {"required": [tag]}]} for b in result.pop("oneOf")]
        elif "anyOf" not in result and _are_separate_ranges(result.get("oneOf")):
            result["anyOf"] = result.pop("oneOf")
        return result

    def _closes_branches(self, keyword: str, schema: Mapping[str, Any]) -> bool:
        """Whether the branches under a keyword list all properties of an object.

        A value that fits one closed branch of a `oneOf` may also fit another one that is open.
        """
        is_whole = keyword == "anyOf" or (keyword == "oneOf" and self.strict)
        return is_whole and "properties" not in schema


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


def _are_separate_ranges(branches: Any) -> bool:
    """Whether the branches of a `oneOf` are ranges of numbers of which no two overlap."""
    if not isinstance(branches, list) or not branches:
        return False
    ranges = [_number_range(each) for each in branches]
    if not all(ranges):
        return False
    ordered = sorted(filter(None, ranges), key=lambda each: each.low)
    return all(
        one.high < other.low or (one.high == other.low and (one.open_high or other.open_low))
        for one, other in itertools.pairwise(ordered)
    )


@dataclass(frozen=True, slots=True)
class _Range:
    """A range of numbers; its ends belong to it unless they are open."""

    low: float
    high: float
    open_low: bool
    open_high: bool


def _number_range(schema: Any) -> _Range | None:
    """The range of the numbers that a schema allows; None if it allows anything else."""
    if not isinstance(schema, Mapping) or schema.get("type") not in ("integer", "number"):
        return None
    limits = ("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum")
    stated = {name: schema[name] for name in limits if name in schema}
    if not all(type(value) in (int, float) for value in stated.values()):
        return None
    low, over = stated.get("minimum", -math.inf), stated.get("exclusiveMinimum", -math.inf)
    high, under = stated.get("maximum", math.inf), stated.get("exclusiveMaximum", math.inf)
    return _Range(max(low, over), min(high, under), over >= low, under <= high)


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
