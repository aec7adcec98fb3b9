"""Calls of tools written as JSON: {"name": "look", "arguments": {"city": "Oslo"}}."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moli.records.messages import STRICT_JSON, Tool


@dataclass(frozen=True, slots=True)
class JsonCalls:
    """The notation; see `moli.models.templates.tool_calls.Notation`.

    Attributes:
        opening: the first characters of what is written, spaces aside.
        key: under which a call that is asked for has its arguments. Read is either of the two that
            models write.
    """

    opening: str
    key: str
    rules: tuple[str, ...] = ()

    def scanner(self) -> JsonScanner:
        return JsonScanner()

    def read(self, text: str, tools: Sequence[Tool]) -> list[tuple[str, str]]:
        names = {each.name for each in tools}
        try:
            value = STRICT_JSON.decode(text)
            parts = value if isinstance(value, list) else [value]
            if not all(isinstance(each, dict) for each in parts):
                return []
            calls = [_one(each, names) for each in _objects(text)]
        except (ValueError, RecursionError):  # no JSON, or brackets upon brackets
            return []
        read = [each for each in calls if each]
        return read if len(read) == len(calls) else []

    def body(self, tool: Tool, inlined: Callable[[Mapping[str, Any]], str]) -> str:
        name = json.dumps(tool.name, ensure_ascii=False)
        head = json.dumps(f'{{"name": {name}, "{self.key}": ')
        return f'{head} {inlined(_closed(tool.parameters))} "}}"'


_UNQUOTED = frozenset(" \t\r\n:,+-.0123456789eEtruefalsenull")


class JsonScanner:
    """Looks for the end of a JSON object or array, continuing where it was when more arrives."""

    def __init__(self) -> None:
        self._at = self._depth = 0
        self._quoted = self._escaped = False

    def end(self, text: str) -> int:
        """Where it ends; 0 while it does not, and -1 where it turns out to be no JSON."""
        for at in range(self._at, len(text)):
            letter = text[at]
            if self._escaped:
                self._escaped = False
            elif self._quoted:
                if letter < " ":
                    return -1
                self._escaped, self._quoted = letter == "\\", letter != '"'
            elif letter == '"':
                self._quoted = True
            elif letter in "{[":
                self._depth += 1
            elif letter in "}]":
                self._depth -= 1
                if not self._depth:
                    return at + 1
            elif letter not in _UNQUOTED:
                return -1
        self._at = len(text)
        return 0


def _one(text: str, names: set[str]) -> tuple[str, str] | None:
    fields = _fields(text)
    name = STRICT_JSON.decode(fields.get("name", "null"))
    arguments = fields.get("arguments") or fields.get("parameters") or ""
    if not isinstance(name, str) or name not in names or not arguments.startswith("{"):
        return None
    return name, arguments


def _objects(text: str) -> Iterator[str]:
    """The objects of an array of objects, or the one that this is, as they are written."""
    at = text.find("{")
    while at >= 0:
        _, end = STRICT_JSON.raw_decode(text, at)
        yield text[at:end]
        at = text.find("{", end)


def _fields(text: str) -> dict[str, str]:
    """The values of an object, as they are written."""
    fields, at = {}, text.find('"')
    while at >= 0:
        name, at = STRICT_JSON.raw_decode(text, at)
        at = text.index(":", at) + 1
        start = len(text) - len(text[at:].lstrip())
        _, at = STRICT_JSON.raw_decode(text, start)
        fields[name] = text[start:at]
        at = text.find('"', at)
    return fields


# In a schema of nothing else, a property that is not named is one that the tool does not know.
_NAMING = {"type", "properties", "required", "title", "description", "$defs", "$schema"}


def _closed(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a tool's arguments, which a model may not add any to."""
    schema = {"type": "object", **parameters}
    if "properties" in schema and schema.keys() <= _NAMING:
        schema["additionalProperties"] = False
    return schema
