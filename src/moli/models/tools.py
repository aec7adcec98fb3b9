"""Calls of tools: how models write them, how they are read, and answers that must be some.

A dialect is what a model was trained to write. One that never saw tools is told Hermes's in plain
words (`moli.models.template`).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any

from moli.models.elements import OPENING, STRICT, TEXT, Elements, body, read
from moli.records.errors import InputError
from moli.records.generation import Form
from moli.records.messages import Tool, ToolCall

Piece = str | ToolCall

_MOST = 8  # calls in one answer that must be some; a weak model does not stop by itself


@dataclass(frozen=True, slots=True)
class Dialect:
    """How calls are written: a mark, then JSON or elements.

    Attributes:
        mark: what announces it.
        end: what may stand after it; "" for nothing.
        opening: its first characters, spaces aside.
        bare: whether an answer may begin with it unannounced. So it looks, too, where the mark is
            a special token, of which the text has nothing.
        key: under which a call has its arguments; "" where it is written as elements.
        answer, item, separator: an answer of nothing but calls, in Lark: of `item` and `others`;
            `item` of `mark`, `body` and `end`; and the text between two items.
    """

    name: str
    mark: str
    end: str
    opening: str
    bare: bool
    key: str
    answer: str
    item: str
    separator: str

    def one(self) -> _Value | Elements:
        """What looks for the end of a call."""
        return _Value() if self.key else Elements()


HERMES = Dialect(
    "hermes", "<tool_call>", "</tool_call>", '{"', False, "arguments",
    "item others", r'mark "\n" body "\n" end', "\n",
)  # fmt: skip
QWEN = Dialect(
    "qwen", HERMES.mark, HERMES.end, OPENING, False, "", HERMES.answer, HERMES.item, "\n"
)
MISTRAL = Dialect(
    "mistral", "[TOOL_CALLS]", "", '[{"', True, "arguments",
    'mark " "? "[" item others "]"', "body", ", ",
)  # fmt: skip
# Its templates refuse a turn of several calls, so there are no others.
LLAMA = Dialect("llama", "<|python_tag|>", ";", '{"', True, "parameters", "item", "body", "; ")


@lru_cache(maxsize=64)
def knows_tools(template: str) -> bool:
    """Whether a chat template writes tools and calls, if it is given any."""
    from jinja2 import Environment, TemplateSyntaxError

    if "tool_calls" not in template:
        return False
    try:  # its code only: a text may speak of tools as well
        parts = list(Environment(autoescape=True).lex(template))
    except TemplateSyntaxError:  # is told when something is to be written with it
        return False
    return any(kind == "name" and value == "tools" for _, kind, value in parts)


def dialect_of(template: str) -> Dialect:
    """What a model with this chat template writes."""
    if not knows_tools(template):
        return HERMES
    if MISTRAL.mark in template:
        return MISTRAL
    if HERMES.mark in template:
        return QWEN if OPENING in template else HERMES
    return LLAMA if LLAMA.mark in template or '"parameters": ' in template else HERMES


def written(call: ToolCall) -> str:
    """A call as Hermes's dialect has it."""
    name = json.dumps(call.name, ensure_ascii=False)
    body = f'{{"name": {name}, "arguments": {call.arguments or "{}"}}}'
    return f"{HERMES.mark}\n{body}\n{HERMES.end}"


class Calls:
    """One answer as it is written, taken apart into text and calls.

    Space before a mark and between calls belongs to the calls. All else that is no call, as one of
    a tool that is not offered, is text.
    """

    def __init__(self, dialect: Dialect, tools: Sequence[Tool]) -> None:
        self._dialect = dialect
        self._tools = tuple(tools)
        self._waiting = ""
        self._value = dialect.one()
        self._bare = dialect.bare  # whether a call may begin here without a mark
        self._called = False  # whether a call was the last that was told
        self._ending = False  # whether what ends a call may follow

    def push(self, text: str) -> list[Piece]:
        """What is certain after more text: text, and calls that are complete."""
        self._waiting += text
        return self._told(final=False)

    def close(self) -> list[Piece]:
        """What is left when nothing follows; a call that is not complete is text."""
        return self._told(final=True)

    def _told(self, *, final: bool) -> list[Piece]:
        told: list[Piece] = []
        while self._waiting and (pieces := self._next(final)) is not None:
            told += pieces
        return told

    def _next(self, final: bool) -> Sequence[Piece] | None:
        """What comes next, or None where it depends on what follows."""
        if self._ending:
            return self._skip_end(final)
        if self._bare:
            return self._call(0, final)
        text, mark = self._waiting, self._dialect.mark
        found = text.find(mark)
        if found < 0 and final:
            return self._text(len(text))
        before = len(text[: found if found >= 0 else len(text) - _overlap(text, mark)].rstrip())
        if before:
            return self._text(before)
        return self._call(found + len(mark), final) if found >= 0 else None

    def _skip_end(self, final: bool) -> Sequence[Piece] | None:
        rest, end = self._waiting.lstrip(), self._dialect.end
        if rest.startswith(end):
            self._waiting = rest[len(end) :]
        elif end.startswith(rest) and not final:
            return None
        self._ending = False
        return ()

    def _call(self, at: int, final: bool) -> Sequence[Piece] | None:
        """The calls that begin at a place, which a mark may end, or what is before it as text."""
        value, end = self._waiting[at:].lstrip(), -1
        if _may_open(value, self._dialect.opening):
            end = self._value.end(value)
            if not end and not final:
                return None
        self._value, self._bare = self._dialect.one(), False
        calls = self._read(value[:end]) if end > 0 else []
        if not calls:
            return self._text(at)
        self._waiting, self._called = value[end:], True
        self._bare, self._ending = self._dialect.bare, bool(self._dialect.end)
        return calls

    def _read(self, text: str) -> list[ToolCall]:
        if self._dialect.key:
            return _read(text, frozenset(each.name for each in self._tools))
        found = read(text, self._tools)
        return [_call(*found)] if found else []

    def _text(self, length: int) -> Sequence[Piece]:
        text, self._waiting = self._waiting[:length], self._waiting[length:]
        if not text or (self._called and text.isspace()):
            return ()
        self._called = False
        return (text,)


_UNQUOTED = frozenset(" \t\r\n:,+-.0123456789eEtruefalsenull")


class _Value:
    """Looks for the end of a JSON object or array, going on where it was when more of it comes."""

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


def call_form(
    dialect: Dialect,
    tools: Sequence[Tool],
    several: bool,
    added: Mapping[str, int] = MappingProxyType({}),
) -> Form:
    """The form of an answer that calls one of some tools, and says nothing else.

    Args:
        several: whether it may hold more than one call, where the dialect can.
        added: the tokenizer's added tokens (`get_added_vocab`): a mark that is among them is
            written as that token, which the model was trained to begin with.

    Raises:
        InputError: there is no tool.
    """
    from moli.models.engine.grammar import inlined

    if not tools:
        raise InputError("there is no tool that could be called", fix="Offer one.")

    def rule(name: str, text: str) -> str:
        return f"{name}: " + (f"<[{added[text]}]>" if text in added else json.dumps(text))

    def json_body(tool: Tool) -> str:
        name = json.dumps(tool.name, ensure_ascii=False)
        head = json.dumps(f'{{"name": {name}, "{dialect.key}": ')
        return f'{head} {inlined(_closed(tool.parameters))} "}}"'

    bodies = [json_body(each) if dialect.key else body(each, inlined) for each in tools]
    more = f"({json.dumps(dialect.separator)} item){{0,{_MOST - 1}}}" if several else '""'
    rules = [
        f"start: {dialect.answer}",
        f"item: {dialect.item}",
        f"others: {more}",
        rule("mark", dialect.mark),
        rule("end", dialect.end),
        f"body: {' | '.join(bodies)}",
        *([] if dialect.key else [TEXT]),
    ]
    return Form(lark="\n".join(rules))


# In a schema of nothing else, a property that is not named is one that the tool does not know.
_NAMING = {"type", "properties", "required", "title", "description", "$defs", "$schema"}


def _closed(parameters: Mapping[str, Any]) -> dict[str, Any]:
    """The schema of a tool's arguments, which a model may not add any to."""
    schema = {"type": "object", **parameters}
    if "properties" in schema and schema.keys() <= _NAMING:
        schema["additionalProperties"] = False
    return schema


def _overlap(text: str, mark: str) -> int:
    """Characters at the end of a text with which a mark may begin."""
    most = min(len(text), len(mark) - 1)
    return next((n for n in range(most, 0, -1) if text.endswith(mark[:n])), 0)


def _may_open(text: str, opening: str) -> bool:
    head = "".join(text[:40].split())
    return head.startswith(opening) or opening.startswith(head)


def _read(text: str, names: frozenset[str]) -> list[ToolCall]:
    """The calls that a JSON object or array is; none if any of it is something else."""
    try:
        value = STRICT.decode(text)
        parts = value if isinstance(value, list) else [value]
        if not all(isinstance(each, dict) for each in parts):
            return []
        calls = [_one(each, names) for each in _objects(text)]
    except (ValueError, RecursionError):  # no JSON, or brackets upon brackets
        return []
    read = [each for each in calls if each]
    return read if len(read) == len(calls) else []


def _one(text: str, names: frozenset[str]) -> ToolCall | None:
    fields = _fields(text)
    name = STRICT.decode(fields.get("name", "null"))
    arguments = fields.get("arguments") or fields.get("parameters") or ""
    if not isinstance(name, str) or name not in names or not arguments.startswith("{"):
        return None
    return _call(name, arguments)


def _call(name: str, arguments: str) -> ToolCall:
    return ToolCall(f"call_{uuid.uuid4().hex[:24]}", name, arguments)


def _objects(text: str) -> Iterator[str]:
    """The objects of an array of objects, or the one that this is, as they are written."""
    at = text.find("{")
    while at >= 0:
        _, end = STRICT.raw_decode(text, at)
        yield text[at:end]
        at = text.find("{", end)


def _fields(text: str) -> dict[str, str]:
    """The values of an object, as they are written."""
    fields, at = {}, text.find('"')
    while at >= 0:
        name, at = STRICT.raw_decode(text, at)
        at = text.index(":", at) + 1
        start = len(text) - len(text[at:].lstrip())
        _, at = STRICT.raw_decode(text, start)
        fields[name] = text[start:at]
        at = text.find('"', at)
    return fields
