"""Parsing of answers into text and tool calls while they are written."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

from moli.models.templates.call_syntax import INCOMPLETE, NOT_A_CALL
from moli.models.templates.partial_match import partial_match_length
from moli.models.templates.tool_call_formats import ToolCallFormat
from moli.records.messages import Tool, ToolCall

ParsedPart = str | ToolCall


class ToolCallParser:
    """Splits one answer into text and calls as its text arrives.

    White space before `begin` and between calls belongs to the calls. Everything else that is not
    a call is text, and so is a call of a tool that is not offered.
    """

    def __init__(self, call_format: ToolCallFormat, tools: Sequence[Tool]) -> None:
        self._format = call_format
        self._tools = tuple(tools)
        self._unparsed = ""
        self._scanner = call_format.syntax.scanner()
        self._call_may_begin = call_format.begin_optional  # here, without being announced
        self._last_was_call = False  # of the parts that were returned
        self._end_may_follow = False

    def feed(self, text: str) -> list[ParsedPart]:
        """Take more of the answer's text, and return the parts that are certain by now.

        The parts are new text and complete calls.
        """
        self._unparsed += text
        return self._parse(final=False)

    def close(self) -> list[ParsedPart]:
        """The remaining parts when no more text follows; an incomplete call is text."""
        return self._parse(final=True)

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
        self._end_may_follow = False
        return ()

    def _take_calls(self, start: int, final: bool) -> Sequence[ParsedPart] | None:
        """Take the calls that begin at a position.

        Returns:
            The calls, or the text before the position if there are none; None if that is not
            certain yet.
        """
        text, end = self._unparsed[start:].lstrip(), NOT_A_CALL
        if _may_begin_with(text, self._format.syntax.opening):
            end = self._scanner.find_end(text)
            if end == INCOMPLETE and not final:
                return None
        self._scanner, self._call_may_begin = self._format.syntax.scanner(), False
        calls = self._parse_calls(text[:end]) if end > 0 else []
        if not calls:
            return self._take_text(start)
        self._unparsed, self._last_was_call = text[end:], True
        self._call_may_begin = self._format.begin_optional
        self._end_may_follow = bool(self._format.end)
        return calls

    def _parse_calls(self, text: str) -> list[ToolCall]:
        """The calls that a text consists of, with new ids."""
        calls = self._format.syntax.parse(text, self._tools)
        return [
            ToolCall(f"call_{uuid.uuid4().hex[:24]}", call.name, call.arguments) for call in calls
        ]

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
