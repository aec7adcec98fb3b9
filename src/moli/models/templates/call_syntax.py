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
        arguments: a JSON object.
    """

    name: str
    arguments: str


class CallScanner(Protocol):
    """Looks for the end of one call, without starting over when more of the text arrives."""

    def find_end(self, text: str) -> int:
        """The length of the call that the text begins with, INCOMPLETE or NOT_A_CALL.

        Args:
            text: the whole text up to now, beginning with the call.
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

    def call_rule(self, tool: Tool) -> str:
        """A Lark expression that matches calls of a tool."""
        ...
