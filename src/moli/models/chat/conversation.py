"""Conversations as the prompt tokens of a chat model, shortened to what the model can read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from moli.models.templates.chat_template import prompt_ids
from moli.records.messages import Message


def prompt_ids_within(tokenizer: Any, messages: Sequence[Message], max_tokens: int) -> list[int]:
    """The prompt tokens for the answer to a conversation, at most `max_tokens` of them.

    If the conversation is too long, the oldest turns are dropped first, except the system's; a last
    message that is too long by itself keeps its end, where the question is.
    """
    kept = list(messages)
    ids = _prompt_ids(tokenizer, kept)
    while len(ids) > max_tokens:
        oldest = next((n for n, each in enumerate(kept[:-1]) if each.role != "system"), None)
        if oldest is not None:
            del kept[oldest]
        elif shortened := _without_first_tokens(tokenizer, kept[-1].content, len(ids) - max_tokens):
            kept[-1] = Message(kept[-1].role, shortened)
        elif len(kept) > 1:
            kept = kept[-1:]  # there is no room for the system's message either
        else:
            return ids[-max_tokens:]
        ids = _prompt_ids(tokenizer, kept)
    return ids


def _without_first_tokens(tokenizer: Any, text: str, count: int) -> str:
    """A text without its first `count` tokens."""
    ids = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
    return str(tokenizer.decode(ids[count:])).lstrip()


def _prompt_ids(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """Prompt tokens of the whole conversation, by the tokenizer's chat template if it has one."""
    if tokenizer.chat_template:
        return prompt_ids(tokenizer, messages)
    # A model without a chat template was not trained on roles: it gets the texts alone.
    text = "\n\n".join(message.content for message in messages)
    return list(tokenizer(text, verbose=False)["input_ids"])
