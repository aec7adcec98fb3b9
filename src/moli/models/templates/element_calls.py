"""Calls of tools written as elements, as Qwen3-Coder and Qwen3.5 write them.

<function=look>
<parameter=city>
Oslo
</parameter>
</function>

A text value is written as it is, any other as JSON; the tool's schema says which. So nothing in a
text needs to be escaped, or can be.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moli.records.messages import STRICT_JSON, Tool

_CLOSING = "</function>"
_PARAMETER = "<parameter="
_HEAD = re.compile(r"<function=([^<>\s]+)>\s*")
_NAME = re.compile(r"<parameter=([^<>\s]+)>")
# A value may speak of this very tag: it ends where something follows that can follow a value.
_VALUE_END = re.compile(rf"</parameter>\s*(?={_PARAMETER}|{_CLOSING})")
_WORDS = {"True": "true", "False": "false", "None": "null"}  # what models take from Python


_DEEP = 8  # definitions that refer to others, of which the last may refer to the first

Written = tuple[str, dict[str, str]]  # a name, and the values of its parameters as they stand there

_TEXT = r"""text[suffix="\n</parameter>\n"]: /(?s:.*)/"""


@dataclass(frozen=True, slots=True)
class ElementCalls:
    """The notation; see `moli.models.templates.tool_calls.Notation`."""

    opening: str = "<function="
    rules: tuple[str, ...] = (_TEXT,)

    def scanner(self) -> ElementScanner:
        return ElementScanner()

    def read(self, text: str, tools: Sequence[Tool]) -> list[tuple[str, str]]:
        parts = _parts(text)
        tool = next((each for each in tools if parts and each.name == parts[0]), None)
        if not parts or not tool:
            return []
        known = _properties(tool)
        pairs = (
            f"{json.dumps(name, ensure_ascii=False)}: {_json(value, known.get(name, {}), tool)}"
            for name, value in parts[1].items()
        )
        return [(tool.name, "{" + ", ".join(pairs) + "}")]

    def body(self, tool: Tool, inlined: Callable[[Mapping[str, Any]], str]) -> str:
        """The parameters that the schema names, in its order."""
        needed = _list(tool.parameters.get("required"))
        parts = [json.dumps(f"{self.opening}{tool.name}>\n", ensure_ascii=False)]
        for name, schema in _properties(tool).items():
            head = json.dumps(f"{_PARAMETER}{name}>\n", ensure_ascii=False)
            part = f"{head} {_value(schema, tool, inlined)}"
            parts.append(part if name in needed else f"({part})?")
        return " ".join([*parts, json.dumps(_CLOSING)])


class ElementScanner:
    """Looks for the end of a call, continuing where it was when more of it arrives."""

    def __init__(self) -> None:
        self._at = 0

    def end(self, text: str) -> int:
        """Where it ends; 0 while it does not, and -1 where it turns out to be none."""
        begun = _HEAD.match(text)
        if not begun:
            return -1 if re.search(r">|\s", text) else 0
        at = begun.end()
        if not any(e.startswith(text[at : at + len(e)]) for e in (_PARAMETER, _CLOSING)):
            return -1
        while (found := text.find(_CLOSING, self._at)) >= 0:
            self._at = found + len(_CLOSING)
            if _parts(text[: self._at]):
                return self._at
        self._at = max(self._at, len(text) - len(_CLOSING))
        return 0


def _value(schema: Any, tool: Tool, inlined: Callable[[Mapping[str, Any]], str]) -> str:
    resolved = _resolved(schema, tool)
    end = json.dumps("\n</parameter>\n")
    choices = _list(resolved.get("enum"))
    if choices and all(isinstance(each, str) for each in choices):
        return f"({' | '.join(json.dumps(each, ensure_ascii=False) for each in choices)}) {end}"
    types = _types(schema, tool)
    if types and "string" not in types:
        return f"{inlined({**_beside(tool), **resolved})} {end}"
    return "text"


def _parts(text: str) -> Written | None:
    """What a whole call consists of."""
    head = _HEAD.match(text)
    if not head:
        return None
    at, values = head.end(), {}
    while name := _NAME.match(text, at):
        end = _VALUE_END.search(text, name.end())
        if not end:
            return None
        value = text[name.end() : end.start()]
        values[name[1]] = value.removeprefix("\n").removesuffix("\n")
        at = end.end()
    return (head[1], values) if text[at:] == _CLOSING else None


def _json(text: str, schema: Any, tool: Tool) -> str:
    """A value as JSON."""
    types = _types(schema, tool)
    if types != {"string"}:
        plain = text.strip()
        try:
            value = STRICT_JSON.decode(_WORDS.get(plain, plain))
            if not types or _type(value) & types:
                return json.dumps(value, ensure_ascii=False)
        except (ValueError, RecursionError):
            pass
    return json.dumps(text, ensure_ascii=False)


def _types(schema: Any, tool: Tool, depth: int = 0) -> set[str]:
    """The types that a value may have; none where any will do."""
    resolved = _resolved(schema, tool)
    given = resolved.get("type")
    if types := {each for each in [given, *_list(given)] if isinstance(each, str)}:
        return types
    if (values := _list(resolved.get("enum"))) or "const" in resolved:
        return set().union(*map(_type, values or [resolved["const"]]))
    ways = _list(resolved.get("anyOf")) or _list(resolved.get("oneOf"))
    each = [_types(way, tool, depth + 1) for way in ways] if depth < _DEEP else []
    return set().union(*each) if all(each) else set()


def _type(value: Any) -> set[str]:
    """The types of JSON Schema that a value has."""
    match value:
        case None:
            return {"null"}
        case bool():
            return {"boolean"}
        case int():
            return {"integer", "number"}
        case float():
            return {"number"}
        case str():
            return {"string"}
        case list():
            return {"array"}
    return {"object"}


def _resolved(schema: Any, tool: Tool) -> Mapping[str, Any]:
    """A schema without a reference to one of the tool's definitions."""
    for _ in range(_DEEP):
        reference = schema.get("$ref") if isinstance(schema, Mapping) else None
        if not isinstance(reference, str):
            break
        _, _, place = reference.partition("#/")
        group, _, name = place.partition("/")
        named = _beside(tool).get(group)
        schema = named.get(name) if isinstance(named, Mapping) else None
    return schema if isinstance(schema, Mapping) else {}


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _properties(tool: Tool) -> Mapping[str, Any]:
    given = tool.parameters.get("properties")
    return given if isinstance(given, Mapping) else {}


def _beside(tool: Tool) -> dict[str, Any]:
    """The definitions that a tool's schema may refer to."""
    return {
        name: tool.parameters[name] for name in ("$defs", "definitions") if name in tool.parameters
    }
