"""Tool calls written as JSON: {"name": "look", "arguments": {"city": "Oslo"}}."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import takewhile

from moli.models.templates.call_syntax import INCOMPLETE, NOT_A_CALL, BegunCalls, ParsedCall
from moli.models.templates.json_schema import arguments_schema, lark_json
from moli.records.messages import STRICT_JSON, Tool

_OUTSIDE_STRINGS = frozenset(" \t\r\n:,+-.0123456789eEtruefalsenull")
# What stands before the arguments in a call that begins with its name.
_CALL_HEAD = re.compile(
    r'\{\s*"name"\s*:\s*("[^"\\\x00-\x1f]*")\s*,\s*"(?:arguments|parameters)"\s*:\s*'
)


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

    def call_head(self, tool: Tool) -> str:
        """The text before the arguments in calls that are required of a model."""
        name = json.dumps(tool.name, ensure_ascii=False)
        return f'{{"name": {name}, "{self.arguments_key}": '

    def call_rule(self, tool: Tool) -> str:
        """A Lark expression that matches calls of a tool."""
        return f'{json.dumps(self.call_head(tool))} {lark_json(arguments_schema(tool))} "}}"'


@dataclass(slots=True)
class _CallSpan:
    """The place of a call's arguments in a text; `end` is 0 while they go on."""

    name: str
    start: int
    end: int = 0


class JsonScanner:
    """Looks for the end of a JSON object or array in a growing text."""

    def __init__(self) -> None:
        self._at = self._depth = 0
        self._in_string = self._escaped = False
        self._object_depth = 1  # of a call: 2 in an array
        self._objects = self._object_start = 0
        self._spans: list[_CallSpan] = []

    def find_end(self, text: str) -> int:
        """The length of the call that the text begins with, INCOMPLETE or NOT_A_CALL."""
        for at in range(self._at, len(text)):
            letter = text[at]
            if self._escaped:
                self._escaped = False
            elif self._in_string:
                if letter < " ":
                    return self._stop(at)
                self._escaped, self._in_string = letter == "\\", letter != '"'
            elif letter == '"':
                self._in_string = True
            elif letter in "{[":
                self._open(text, at)
            elif letter in "}]":
                self._close(at)
                if not self._depth:
                    return at + 1
            elif letter not in _OUTSIDE_STRINGS:
                return self._stop(at)
        self._at = len(text)
        return INCOMPLETE

    def begun_calls(self, text: str, tools: Sequence[Tool]) -> BegunCalls:
        """The calls of offered tools whose arguments have begun."""
        names = {each.name for each in tools}
        spans = list(takewhile(lambda span: span.name in names, self._spans))
        calls = [ParsedCall(each.name, text[each.start : each.end or self._at]) for each in spans]
        return BegunCalls(calls, (spans[-1].end or self._at) if spans else 0)

    def _stop(self, at: int) -> int:
        """Note where the text ceases to be a call."""
        self._at = at
        return NOT_A_CALL

    def _open(self, text: str, at: int) -> None:
        """Note the beginning of a call, or of its arguments if its name is before them."""
        self._depth += 1
        if self._depth == 1 and text[at] == "[":
            self._object_depth = 2
        elif self._depth == self._object_depth:
            self._objects, self._object_start = self._objects + 1, at
        elif self._depth == self._object_depth + 1 and len(self._spans) == self._objects - 1:
            head = _CALL_HEAD.fullmatch(text, self._object_start, at)
            if head and text[at] == "{":
                self._spans.append(_CallSpan(STRICT_JSON.decode(head[1]), at))

    def _close(self, at: int) -> None:
        """Note the end of a call's arguments."""
        if self._depth == self._object_depth + 1 and self._spans and not self._spans[-1].end:
            self._spans[-1].end = at + 1
        self._depth -= 1


def _parse_call(text: str, tool_names: set[str]) -> ParsedCall | None:
    """Parse a JSON object as a call; None if it is not a call of one of the tools."""
    values = _value_texts(text)
    name = STRICT_JSON.decode(values.get("name", "null"))
    arguments = next((values[key] for key in values if key in ("arguments", "parameters")), "")
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
    values: dict[str, str] = {}
    at = text.find('"')
    while at >= 0:
        key, at = STRICT_JSON.raw_decode(text, at)
        at = text.index(":", at) + 1
        start = len(text) - len(text[at:].lstrip())
        _, at = STRICT_JSON.raw_decode(text, start)
        values.setdefault(key, text[start:at])
        at = text.find('"', at)
    return values
