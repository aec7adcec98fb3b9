"""A prompt in five parts, rendered to messages and known by its hash."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from moli.records.messages import Message


@dataclass(frozen=True, slots=True)
class Example:
    """A worked example: what comes in and what should come out."""

    given: str
    answer: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """Five parts. Empty ones are left out.

    Attributes:
        task: what is to be done, in a sentence or two.
        role: who the model speaks as.
        context: what it may rely on.
        instruction: the specific request.
        examples: worked examples, shown as earlier turns of the conversation.
    """

    task: str
    role: str = ""
    context: str = ""
    instruction: str = ""
    examples: Sequence[Example] = ()

    def messages(self) -> tuple[Message, ...]:
        """Role and task as the system's message, examples as turns, the rest as the user's."""
        system = "\n\n".join(part for part in (self.role, self.task) if part)
        request = "\n\n".join(part for part in (self.context, self.instruction) if part)
        turns = [
            turn
            for example in self.examples
            for turn in (Message("user", example.given), Message("assistant", example.answer))
        ]
        return (Message("system", system), *turns, Message("user", request))

    @property
    def sha256(self) -> str:
        """Hash of what the model sees."""
        seen = [[message.role, message.content] for message in self.messages()]
        return hashlib.sha256(json.dumps(seen, ensure_ascii=False).encode()).hexdigest()
