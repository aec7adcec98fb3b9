"""Tool calls: how models write them, how they are parsed, and answers that must be calls.

A dialect is what a model was trained to write. A model that never saw tools is given Hermes's in
plain text (`moli.models.templates.template`).
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from types import MappingProxyType
from typing import Any, Protocol

from moli.models.templates.element_calls import ElementCalls
from moli.models.templates.json_calls import JsonCalls
from moli.records.errors import InputError
from moli.records.generation import OutputConstraint
from moli.records.messages import Tool, ToolCall

Piece = str | ToolCall

_MOST = 8  # calls in one answer that must be some; a weak model does not stop by itself


class Scanner(Protocol):
    """Looks for the end of a call, continuing where it was when more of it arrives."""

    def end(self, text: str) -> int:
        """Where it ends; 0 while it does not, and -1 where it turns out to be none."""
        ...


class Notation(Protocol):
    """What calls themselves look like, whatever introduces them.

    Attributes:
        opening: their first characters, spaces aside.
        rules: of the grammar that `body` is a part of, in Lark.
    """

    @property
    def opening(self) -> str: ...

    @property
    def rules(self) -> tuple[str, ...]: ...

    def scanner(self) -> Scanner:
        """For the next call."""
        ...

    def read(self, text: str, tools: Sequence[Tool]) -> list[tuple[str, str]]:
        """The names and the arguments, in JSON, of the calls that a text is; none where any of it
        is something else, as a call of a tool that is not offered."""
        ...

    def body(self, tool: Tool, inlined: Callable[[Mapping[str, Any]], str]) -> str:
        """A call of a tool, in Lark.

        Args:
            inlined: makes a part of a grammar of a JSON schema.
        """
        ...


@dataclass(frozen=True, slots=True)
class Dialect:
    """How calls are written: a mark, then one in some notation.

    Attributes:
        mark: what announces it.
        end: what may stand after it; "" for nothing.
        bare: whether an answer may begin with it unannounced. So it looks, too, where the mark is
            a special token, of which the text has nothing.
        answer, item, separator: an answer of nothing but calls, in Lark: of `item` and `others`;
            `item` of `mark`, `body` and `end`; and the text between two items.
    """

    name: str
    mark: str
    end: str
    notation: Notation
    bare: bool
    answer: str
    item: str
    separator: str


HERMES = Dialect(
    "hermes", "<tool_call>", "</tool_call>", JsonCalls('{"', "arguments"), False,
    "item others", r'mark "\n" body "\n" end', "\n",
)  # fmt: skip
QWEN = replace(HERMES, name="qwen", notation=ElementCalls())
MISTRAL = Dialect(
    "mistral", "[TOOL_CALLS]", "", JsonCalls('[{"', "arguments"), True,
    'mark " "? "[" item others "]"', "body", ", ",
)  # fmt: skip
# Its templates refuse a turn of several calls, so there are no others.
LLAMA = Dialect(
    "llama", "<|python_tag|>", ";", JsonCalls('{"', "parameters"), True, "item", "body", "; "
)


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
        return QWEN if QWEN.notation.opening in template else HERMES
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
        self._scanner = dialect.notation.scanner()
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
        if _may_open(value, self._dialect.notation.opening):
            end = self._scanner.end(value)
            if not end and not final:
                return None
        self._scanner, self._bare = self._dialect.notation.scanner(), False
        calls = self._read(value[:end]) if end > 0 else []
        if not calls:
            return self._text(at)
        self._waiting, self._called = value[end:], True
        self._bare, self._ending = self._dialect.bare, bool(self._dialect.end)
        return calls

    def _read(self, text: str) -> list[ToolCall]:
        read = self._dialect.notation.read(text, self._tools)
        return [ToolCall(f"call_{uuid.uuid4().hex[:24]}", *each) for each in read]

    def _text(self, length: int) -> Sequence[Piece]:
        text, self._waiting = self._waiting[:length], self._waiting[length:]
        if not text or (self._called and text.isspace()):
            return ()
        self._called = False
        return (text,)


def call_form(
    dialect: Dialect,
    tools: Sequence[Tool],
    several: bool,
    added: Mapping[str, int] = MappingProxyType({}),
) -> OutputConstraint:
    """The form of an answer that calls one of some tools, and says nothing else.

    Args:
        several: whether it may hold more than one call, where the dialect can.
        added: the tokenizer's added tokens (`get_added_vocab`): a mark that is among them is
            written as that token, which the model was trained to begin with.

    Raises:
        InputError: there is no tool.
    """
    from moli.models.templates.json_schema import inlined

    if not tools:
        raise InputError("there is no tool to call", fix="Offer one.")

    def rule(name: str, text: str) -> str:
        return f"{name}: " + (f"<[{added[text]}]>" if text in added else json.dumps(text))

    notation = dialect.notation
    bodies = [notation.body(each, inlined) for each in tools]
    more = f"({json.dumps(dialect.separator)} item){{0,{_MOST - 1}}}" if several else '""'
    rules = [
        f"start: {dialect.answer}",
        f"item: {dialect.item}",
        f"others: {more}",
        rule("mark", dialect.mark),
        rule("end", dialect.end),
        f"body: {' | '.join(bodies)}",
        *notation.rules,
    ]
    return OutputConstraint(lark="\n".join(rules))


def _overlap(text: str, mark: str) -> int:
    """Characters at the end of a text with which a mark may begin."""
    most = min(len(text), len(mark) - 1)
    return next((n for n in range(most, 0, -1) if text.endswith(mark[:n])), 0)


def _may_open(text: str, opening: str) -> bool:
    head = "".join(text[:40].split())
    return head.startswith(opening) or opening.startswith(head)
