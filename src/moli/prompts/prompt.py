"""A prompt in five parts, which becomes the messages of a conversation."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass

from moli.records.messages import Message


@dataclass(frozen=True, slots=True)
class Demonstration:
    """A request with the answer that the model should give to it."""

    request: str
    answer: str


@dataclass(frozen=True, slots=True)
class Prompt:
    """A prompt in five parts. Empty parts are left out.

    Attributes:
        task: the task in a sentence or two.
        role: the person that the model speaks as.
        context: information that the model may rely on.
        instruction: the specific request.
        examples: requests with answers, shown as earlier turns of the conversation.
    """

    task: str
    role: str = ""
    context: str = ""
    instruction: str = ""
    examples: Sequence[Demonstration] = ()

    def messages(self) -> tuple[Message, ...]:
        """The system message of role and task, the examples as turns, and the rest as request."""
        system = "\n\n".join(part for part in (self.role, self.task) if part)
        request = "\n\n".join(part for part in (self.context, self.instruction) if part)
        turns = [
            turn
            for example in self.examples
            for turn in (Message("user", example.request), Message("assistant", example.answer))
        ]
        return (Message("system", system), *turns, Message("user", request))

    @property
    def sha256(self) -> str:
        """Hash of the messages that the model sees."""
        messages = [[message.role, message.content] for message in self.messages()]
        return hashlib.sha256(json.dumps(messages, ensure_ascii=False).encode()).hexdigest()
