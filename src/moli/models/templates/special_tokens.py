"""Special tokens in the texts of users and tools, which a model must read as plain text."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

from moli.records.messages import Message

# By tokenizer, and then by its size and named special tokens, in case tokens are added to it.
_patterns: WeakKeyDictionary[Any, dict[tuple[int | str, ...], re.Pattern[str]]] = (
    WeakKeyDictionary()
)


def unused_character(messages: Sequence[Message]) -> str:
    """A character of Unicode's private use area that occurs in none of the messages."""
    text = "".join(each.content for each in messages)
    return next(each for each in map(chr, range(0xE000, 0xF900)) if each not in text)


def break_special_tokens(
    tokenizer: Any, messages: Sequence[Message], separator: str
) -> list[Message]:
    """Insert a separator into every special token in the messages, except the assistant's.

    If a text is split at the separators and its parts are tokenized one by one, these tokens are
    read as plain text.
    """
    pattern = _special_token_pattern(tokenizer)

    def break_tokens(message: Message) -> Message:
        """The message with a separator in each special token, unless it is the assistant's."""
        if message.role == "assistant" or not pattern.search(message.content):
            return message
        content = pattern.sub(lambda match: match[0][0] + separator + match[0][1:], message.content)
        return replace(message, content=content)

    return [break_tokens(each) for each in messages]


def _special_token_pattern(tokenizer: Any) -> re.Pattern[str]:
    """A pattern of all special tokens of more than one character."""
    patterns = _patterns.setdefault(tokenizer, {})
    version = (len(tokenizer), *tokenizer.all_special_tokens)
    if version not in patterns:
        added = tokenizer.added_tokens_decoder.values()
        special = {str(each) for each in added if each.special} | set(tokenizer.all_special_tokens)
        texts = sorted((each for each in special if len(each) > 1), key=len, reverse=True)
        patterns[version] = re.compile("|".join(map(re.escape, texts)) or "(?!)")
    return patterns[version]
