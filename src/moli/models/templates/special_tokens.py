"""Special tokens in the texts of users and tools, which a model reads as plain text.

A tokenizer may allow some of them, which is stored in its configuration, so that a model is served
with the tokens that it was trained with.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any
from weakref import WeakKeyDictionary

from moli.records.errors import InputError
from moli.records.messages import Message

# The entry in the tokenizer's configuration that lists the tokens which texts may use.
_ALLOWED_KEY = "special_tokens_in_texts"
# By tokenizer, and then by its size and named special tokens, in case tokens are added to it.
_patterns: WeakKeyDictionary[Any, dict[tuple[int | str, ...], re.Pattern[str]]] = (
    WeakKeyDictionary()
)


def allow_special_tokens(tokenizer: Any, tokens: Sequence[str]) -> None:
    """Let the texts of users and tools use some of a tokenizer's special tokens.

    Raises:
        InputError: one of them is not a special token.
    """
    known = special_tokens(tokenizer)
    for token in tokens:
        if token not in known:
            shown = ", ".join(sorted(known))
            raise InputError(
                f"'{token}' is not a special token of the base's tokenizer",
                where="special_tokens",
                fix=f"It has: {shown}.",
            )
    tokenizer.init_kwargs[_ALLOWED_KEY] = list(tokens)


def broken_special_tokens(tokenizer: Any, messages: Sequence[Message]) -> set[str]:
    """The special tokens in messages that are read as plain text."""
    pattern = _special_token_pattern(tokenizer)
    texts = (each.content for each in messages if each.role != "assistant")
    return {token for text in texts for token in pattern.findall(text)}


def unused_character(messages: Sequence[Message]) -> str:
    """A character of Unicode's private use area that occurs in none of the messages."""
    text = "".join(each.content for each in messages)
    return next(each for each in map(chr, range(0xE000, 0xF900)) if each not in text)


def break_special_tokens(
    tokenizer: Any, messages: Sequence[Message], separator: str
) -> list[Message]:
    """Insert a separator into every special token in the messages, except the assistant's and
    those that the tokenizer allows.

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
    """A pattern of all special tokens of more than one character that texts may not use."""
    patterns = _patterns.setdefault(tokenizer, {})
    allowed = _allowed_tokens(tokenizer)
    version = (len(tokenizer), *tokenizer.all_special_tokens, -1, *allowed)
    if version not in patterns:
        broken = special_tokens(tokenizer) - set(allowed)
        texts = sorted((each for each in broken if len(each) > 1), key=len, reverse=True)
        patterns[version] = re.compile("|".join(map(re.escape, texts)) or "(?!)")
    return patterns[version]


def special_tokens(tokenizer: Any) -> set[str]:
    """All special tokens, with those that have no role such as ending a text."""
    added = tokenizer.added_tokens_decoder.values()
    return {str(each) for each in added if each.special} | set(tokenizer.all_special_tokens)


def _allowed_tokens(tokenizer: Any) -> Sequence[str]:
    """The special tokens that texts may use; none for a tokenizer of llama.cpp."""
    allowed = getattr(tokenizer, "init_kwargs", {}).get(_ALLOWED_KEY)
    return tuple(map(str, allowed)) if isinstance(allowed, list) else ()
