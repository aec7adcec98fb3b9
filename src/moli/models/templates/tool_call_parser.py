"""Parsing of answers into text and tool calls while they are written."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace

from moli.models.templates.call_syntax import INCOMPLETE, NOT_A_CALL, BegunCalls, ParsedCall
from moli.models.templates.partial_match import partial_match_length
from moli.models.templates.tool_call_formats import ToolCallFormat
from moli.records.messages import Tool, ToolCall


@dataclass(frozen=True, slots=True)
class ToolCallDelta:
    """A new part of a call.

    Attributes:
        index: index of the call among those of the answer, from 0.
        arguments: new text of the arguments, exactly as the model wrote it.
    """

    index: int
    id: str
    name: str
    arguments: str


ParsedPart = str | ToolCallDelta


def join_tool_calls(parts: Iterable[ParsedPart]) -> tuple[ToolCall, ...]:
    """The calls that the parts of an answer add up to."""
    calls: dict[int, ToolCall] = {}
    for part in parts:
        if isinstance(part, ToolCallDelta):
            before = calls[part.index].arguments if part.index in calls else ""
            calls[part.index] = ToolCall(part.id, part.name, before + part.arguments)
    return tuple(calls.values())


class ToolCallParser:
    """Splits one answer into text and calls as its text arrives.

    White space before `begin` and between calls belongs to the calls. Everything else that is not
    a call is text, and so is a call of a tool that is not offered. Once the arguments of an offered
    tool have begun they are passed on as they arrive; if they break off, the call is an incomplete
    one.

    Args:
        required: names of the tools of which one must be called, by a grammar. Then a call that
            repeats an earlier one is left out, since weak models do not stop by themselves, and a
            call that is cut before its arguments is known by its tool, if there is only one.
    """

    def __init__(
        self, call_format: ToolCallFormat, tools: Sequence[Tool], required: Collection[str] = ()
    ) -> None:
        self._format = call_format
        self._tools = tuple(tools)
        self._required = frozenset(required)
        self._unparsed = ""
        self._scanner = call_format.syntax.scanner()
        self._call_may_begin = call_format.begin_optional  # here, without being announced
        self._last_was_call = False  # of the parts that were returned
        self._end_may_follow = False
        self._calls: list[ToolCall] = []  # as far as they were returned
        # Indices of the calls that the scanner reads; None while one may repeat an earlier one.
        self._current: list[int | None] = []

    def feed(self, text: str) -> list[ParsedPart]:
        """Take more of the answer's text, and return the parts that are certain by now.

        The parts are new text and new parts of calls.
        """
        self._unparsed += text
        return self._parse(final=False)

    def close(self) -> list[ParsedPart]:
        """The remaining parts when no more text follows; a call without arguments is text."""
        if name := self._cut_call_name():
            self._unparsed = ""
            return self._call_deltas([ParsedCall(name, "")])
        parts = self._parse(final=True)
        if self._required and self._calls:  # text can only be the beginning of another call
            parts = [each for each in parts if not isinstance(each, str)]
        return parts

    def _cut_call_name(self) -> str:
        """The tool of a required call that was cut before its arguments; "" if it is not clear."""
        if self._calls or not self._required:
            return ""
        text, begin = self._unparsed.strip(), self._format.begin
        text = "" if begin.startswith(text) else text.removeprefix(begin).lstrip().removeprefix("[")
        call_head = self._format.syntax.call_head
        tools = [each for each in self._tools if each.name in self._required]
        names = [tool.name for tool in tools if call_head(tool).startswith(text)]
        return names[0] if len(names) == 1 else ""

    def _parse(self, *, final: bool) -> list[ParsedPart]:
        """Parse as much as is certain, or everything if the text is final."""
        parsed: list[ParsedPart] = []
        while self._unparsed and (parts := self._parse_next(final)) is not None:
            parsed += parts
        return parsed

    def _parse_next(self, final: bool) -> Sequence[ParsedPart] | None:
        """Parse the beginning of the unparsed text; None if that depends on what follows."""
        if self._end_may_follow:
            return self._skip_end(final)
        if self._call_may_begin:
            return self._take_calls(0, final)
        text, begin = self._unparsed, self._format.begin
        at = text.find(begin)
        if at < 0 and final:
            return self._take_text(len(text))
        before = text[:at] if at >= 0 else text[: len(text) - partial_match_length(text, begin)]
        if length := len(before.rstrip()):
            return self._take_text(length)
        return self._take_calls(at + len(begin), final) if at >= 0 else None

    def _skip_end(self, final: bool) -> Sequence[ParsedPart] | None:
        """Drop the text that may end a call, if it follows; None if that is not certain yet."""
        rest, end = self._unparsed.lstrip(), self._format.end
        if rest.startswith(end):
            self._unparsed = rest[len(end) :]
        elif end.startswith(rest) and not final:
            return None
        elif end.startswith(rest) and len(rest) > 1:  # it was cut
            self._unparsed = ""
        self._end_may_follow = False
        return ()

    def _take_calls(self, start: int, final: bool) -> Sequence[ParsedPart] | None:
        """Take the calls that begin at a position.

        Returns:
            The calls, or the text before the position if there are none; None if that is not
            certain yet.
        """
        text, end = self._unparsed[start:].lstrip(), NOT_A_CALL
        begun = BegunCalls()
        if _may_begin_with(text, self._format.syntax.opening):
            end = self._scanner.find_end(text)
            begun = self._scanner.begun_calls(text, self._tools)
            if end == INCOMPLETE and not final:
                return self._call_deltas(begun.calls) or None
        parsed = self._format.syntax.parse(text[:end], self._tools) if end > 0 else []
        calls = [*parsed, *begun.calls[len(parsed) :]]
        deltas = self._call_deltas(calls)
        self._scanner, self._call_may_begin = self._format.syntax.scanner(), False
        self._current = []
        if not calls:
            return self._take_text(start)
        self._unparsed = text[end:] if parsed else text[begun.end :].lstrip("]} \n")
        self._last_was_call = True
        self._call_may_begin = self._format.begin_optional
        self._end_may_follow = bool(self._format.end)
        return deltas

    def _call_deltas(self, calls: Sequence[ParsedCall]) -> list[ParsedPart]:
        """New parts of the calls that the scanner reads."""
        deltas: list[ParsedPart] = []
        self._current += [None] * (len(calls) - len(self._current))
        for number, call in enumerate(calls):
            index = self._current[number]
            if index is None and self._may_repeat(call):
                continue
            if index is None:
                index = self._current[number] = len(self._calls)
                self._calls.append(ToolCall(f"call_{uuid.uuid4().hex[:24]}", call.name, ""))
            elif call.arguments == self._calls[index].arguments:
                continue
            known = self._calls[index]
            self._calls[index] = replace(known, arguments=call.arguments)
            new = call.arguments.removeprefix(known.arguments)
            deltas.append(ToolCallDelta(index, known.id, known.name, new))
        return deltas

    def _may_repeat(self, call: ParsedCall) -> bool:
        """Whether a call is a repeat to be left out, or the beginning of one."""
        return bool(self._required) and any(
            earlier.name == call.name and earlier.arguments.startswith(call.arguments)
            for earlier in self._calls
        )

    def _take_text(self, length: int) -> Sequence[ParsedPart]:
        """Take text, except white space after a call."""
        text, self._unparsed = self._unparsed[:length], self._unparsed[length:]
        if not text or (self._last_was_call and text.isspace()):
            return ()
        self._last_was_call = False
        return (text,)


def _may_begin_with(text: str, opening: str) -> bool:
    """Whether a text begins with `opening`, white space aside, or may when more of it arrives."""
    head = "".join(text[:40].split())
    return head.startswith(opening) or opening.startswith(head)
