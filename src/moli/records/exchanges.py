"""Exchanges, which are the stored requests to language models with their answers; and people's
feedback on answers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from moli.records.generation import FinishReason
from moli.records.messages import Message, Tool, ToolCall

Rating = Literal["up", "down", ""]
ExchangeKind = Literal["chat", "response", "text"]


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the answers to a conversation.

    Attributes:
        reason: why generation ended.
        tokens: number of generated tokens.
        calls: tool calls in the answer.
    """

    text: str
    reason: FinishReason
    tokens: int
    calls: tuple[ToolCall, ...] = ()


@dataclass(frozen=True, slots=True)
class Exchange:
    """A request and its answers, with everything that determined them.

    Attributes:
        kind: `chat` or `response` if a conversation was answered, by the API that was used; `text`
            if a text was continued.
        model: the model's name in the request.
        base: reference of the base model.
        adapter: hash of the adapter's content, or of a whole model trained here; "" for others.
        template_sha256: hash of the chat template; "" if none was used.
        prompt_sha256: hash of the prompt's token ids, as 4 bytes each, little-endian.
        messages: the conversation; for a continued text, the text as a user's message.
        cached_tokens: number of prompt tokens that were reused from an earlier request.
        sampling: sampling parameters that the request sets.
        timings_ms: time to the first token and to the last, in milliseconds.
        tenant, key: the tenant who asked, and the name of the key.
        previous: id of the exchange that this one continues, whose messages it includes.
        shadow_of: id of the exchange whose answer was shown instead of this one's; "" if this
            answer was shown.
    """

    id: str
    created_at: float
    kind: ExchangeKind
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
    """A person's feedback on an answer.

    Attributes:
        answer_id: id of the trace or the exchange.
        created_at: seconds since 1970.
        choice: index of the answer among the exchange's choices, from 0.
        correction: the answer as it should have been.
        key: name of the key that was used; "" without one.
        id: number in the store; 0 until it is stored.
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
