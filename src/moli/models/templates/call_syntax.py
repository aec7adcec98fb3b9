"""The protocol of a tool-call syntax, which finds, parses and constrains calls in a text."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from moli.records.messages import Tool

# Results of `CallScanner.find_end` that are not the end of a call.
INCOMPLETE = 0
NOT_A_CALL = -1


@dataclass(frozen=True, slots=True)
class ParsedCall:
    """A call of a tool.

    Attributes:
        arguments: a JSON object, or the beginning of one.
    """

    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class BegunCalls:
    """The calls in an incomplete text whose arguments have begun.

    Attributes:
        calls: the calls in their order; the last one's arguments may go on.
        end: length of the text that they take up.
    """

    calls: Sequence[ParsedCall] = ()
    end: int = 0


class CallScanner(Protocol):
    """Looks for the end of one call, without starting over when more of the text arrives."""

    def find_end(self, text: str) -> int:
        """The length of the call that the text begins with, INCOMPLETE or NOT_A_CALL.

        Args:
            text: the whole text up to now, beginning with the call.
        """
        ...

    def begun_calls(self, text: str, tools: Sequence[Tool]) -> BegunCalls:
        """The calls of offered tools that have begun in the text that `find_end` got last.

        What they are depends on the text alone, not on the pieces in which it arrived.
        """
        ...


class CallSyntax(Protocol):
    """A way to write calls themselves, whatever stands before and after them."""

    @property
    def opening(self) -> str:
        """First characters of a call, without white space."""
        ...

    @property
    def extra_rules(self) -> tuple[str, ...]:
        """Lark rules that `call_rule` refers to."""
        ...

    def scanner(self) -> CallScanner:
        """A scanner for the next call."""
        ...

    def parse(self, text: str, tools: Sequence[Tool]) -> list[ParsedCall]:
        """The calls that a text consists of.

        The list is empty if any part of the text is something else, such as a call of a tool that
        is not among `tools`.
        """
        ...

    def call_head(self, tool: Tool) -> str:
        """The text before the arguments in calls that are required of a model."""
        ...

    def call_rule(self, tool: Tool) -> str:
        """A Lark expression that matches calls of a tool."""
        ...
