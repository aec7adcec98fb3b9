"""Tool calls written as JSON: {"name": "look", "arguments": {"city": "Oslo"}}."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moli.models.templates.call_syntax import INCOMPLETE, NOT_A_CALL, ParsedCall
from moli.models.templates.json_schema import lark_json
from moli.records.messages import STRICT_JSON, Tool

_OUTSIDE_STRINGS = frozenset(" \t\r\n:,+-.0123456789eEtruefalsenull")
# In a schema with no other keywords, a property that is not named is one the tool does not know.
_PLAIN_KEYWORDS = {"type", "properties", "required", "title", "description", "$defs", "$schema"}


@dataclass(frozen=True, slots=True)
class JsonSyntax:
    """The syntax of one call as a JSON object, or of several as a JSON array.

    Attributes:
        opening: first characters of a call, without white space.
        arguments_key: key of the arguments in calls that are required of a model. In other calls
            both "arguments" and "parameters" are understood.
    """

    opening: str
    arguments_key: str
    extra_rules: tuple[str, ...] = ()

    def scanner(self) -> JsonScanner:
        """A scanner for the next call."""
        return JsonScanner()

    def parse(self, text: str, tools: Sequence[Tool]) -> list[ParsedCall]:
        """The calls that a text consists of; empty if any part of it is something else."""
        names = {each.name for each in tools}
        try:
            value = STRICT_JSON.decode(text)
            items = value if isinstance(value, list) else [value]
            if not all(isinstance(each, dict) for each in items):
                return []
            calls = [_parse_call(each, names) for each in _object_texts(text)]
        except (ValueError, RecursionError):  # not JSON, or nested too deeply
            return []
        valid = [each for each in calls if each]
        return valid if len(valid) == len(calls) else []

    def call_rule(self, tool: Tool) -> str:
        """A Lark expression that matches calls of a tool."""
        name = json.dumps(tool.name, ensure_ascii=False)
        head = json.dumps(f'{{"name": {name}, "{self.arguments_key}": ')
        return f'{head} {lark_json(_closed_schema(tool.parameters))} "}}"'


class JsonScanner:
    """Looks for the end of a JSON object or array in a growing text."""

    def __init__(self) -> None:
        self._at = self._depth = 0
        self._in_string = self._escaped = False

    def find_end(self, text: str) -> int:
        """The length of the call that the text begins with, INCOMPLETE or NOT_A_CALL."""
        for at in range(self._at, len(text)):
            letter = text[at]
            if self._escaped:
                self._escaped = False
            elif self._in_string:
                if letter < " ":
                    return NOT_A_CALL
                self._escaped, self._in_string = letter == "\\", letter != '"'
            elif letter == '"':
                self._in_string = True
            elif letter in "{[":
                self._depth += 1
            elif letter in "}]":
                self._depth -= 1
                if not self._depth:
                    return at + 1
            elif letter not in _OUTSIDE_STRINGS:
                return NOT_A_CALL
        self._at = len(text)
        return INCOMPLETE


def _parse_call(text: str, tool_names: set[str]) -> ParsedCall | None:
    """Parse a JSON object as a call; None if it is not a call of one of the tools."""
    values = _value_texts(text)
    name = STRICT_JSON.decode(values.get("name", "null"))
    arguments = values.get("arguments") or values.get("parameters") or ""
    if not isinstance(name, str) or name not in tool_names or not arguments.startswith("{"):
        return None
    return ParsedCall(name, arguments)


def _object_texts(text: str) -> Iterator[str]:
    """The source texts of the objects in a JSON array, or of a single object."""
    at = text.find("{")
    while at >= 0:
        _, end = STRICT_JSON.raw_decode(text, at)
        yield text[at:end]
        at = text.find("{", end)


def _value_texts(text: str) -> dict[str, str]:
    """The source texts of a JSON object's values, by key."""
    values, at = {}, text.find('"')
    while at >= 0:
        key, at = STRICT_JSON.raw_decode(text, at)
        at = text.index(":", at) + 1
        start = len(text) - len(text[at:].lstrip())
        _, at = STRICT_JSON.raw_decode(text, start)
        values[key] = text[start:at]
        at = text.find('"', at)
    return values


def _closed_schema(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a tool's arguments; a plain list of properties allows no others."""
    schema = {"type": "object", **parameters}
    if "properties" in schema and schema.keys() <= _PLAIN_KEYWORDS:
        schema["additionalProperties"] = False
    return schema
