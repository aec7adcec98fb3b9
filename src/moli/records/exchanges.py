"""What language models wrote when they were asked by name, and what people said about it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from moli.records.generation import FinishReason
from moli.records.messages import Message, Tool, ToolCall

Rating = Literal["up", "down", ""]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the answers to a conversation.

    Attributes:
        tokens: that were written for it.
    """

    text: str
    reason: FinishReason
    tokens: int
    calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class Exchange:
    """What was asked and what was answered, bound to all that made the answer.

    Attributes:
        kind: whether a conversation was answered or a text continued.
        model: the name it was asked by.
        adapter: the hash of its content, or of a whole model trained here; "" for others.
        template_sha256: of the chat template; "" where none was used.
        prompt_sha256: of the tokens that the model was given, as 4 bytes each, little-endian.
        messages: the conversation; of a text that was continued, the text as a user's.
        sampling: how tokens were chosen, as far as it was not left to the defaults.
        cached_tokens: of the prompt, that were kept from an earlier one.
        timings_ms: until the first token and until the last, in milliseconds.
        tenant, key: who asked.
        previous: the exchange that this one goes on from, whose messages are among these.
        shadow_of: the exchange that was shown, where this one was not.
    """

    id: str
    created_at: float
    kind: Literal["chat", "text"]
    model: str
    base: str
    adapter: str
    template_sha256: str
    prompt_sha256: str
    messages: tuple[Message, ...]
    choices: tuple[Choice, ...]
    prompt_tokens: int
    cached_tokens: int = 0
    tools: tuple[Tool, ...] = ()
    sampling: Mapping[str, Any] = field(default_factory=dict)
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    tenant: str = ""
    key: str = ""
    previous: str = ""
    shadow_of: str = ""


@dataclass(frozen=True, slots=True)
class Feedback:
    """What someone said of an answer.

    Attributes:
        id: a number that the store gives; 0 before.
        answer_id: of a trace or an exchange.
        choice: which of its answers, from 0.
        correction: the answer as it should have been.
        key: the name of the key it was given with; "" without one.
        created_at: in seconds since 1970.
    """

    answer_id: str
    created_at: float
    choice: int = 0
    rating: Rating = ""
    comment: str = ""
    correction: str = ""
    tenant: str = ""
    key: str = ""
    id: int = 0
