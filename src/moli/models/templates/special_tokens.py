"""Special tokens in the texts of a conversation, which a model reads as plain text.

Users, tools and descriptions of tools may use none; the assistant's texts may use all but those
that begin a turn, as an answer must not speak for the user either. A tokenizer may allow some more,
which is stored in its configuration, so that a model is served with the tokens that it was trained
with.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any
from weakref import WeakKeyDictionary

from moli.records.errors import InputError
from moli.records.messages import Message, Tool

# The entry in the tokenizer's configuration that lists the tokens which texts may use.
_ALLOWED_KEY = "special_tokens_in_texts"
_PLACEHOLDER = "\ue000"  # for a user's text
# By tokenizer, and then by what they are made from, in case tokens are added to it.
_patterns: WeakKeyDictionary[Any, dict[tuple[int | str, ...], _Patterns]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class _Patterns:
    """Patterns of the special tokens that are broken: in the assistant's texts, and in others."""

    assistant: re.Pattern[str]
    others: re.Pattern[str]

    def of(self, message: Message) -> re.Pattern[str]:
        """The pattern for the texts of a message."""
        return self.assistant if message.role == "assistant" else self.others


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
    patterns = _patterns_of(tokenizer)
    return {token for each in messages for token in patterns.of(each).findall(each.content)}


def unused_character(messages: Sequence[Message], tools: Sequence[Tool] = ()) -> str:
    """A character of Unicode's private use area that occurs in no message and in no tool."""
    calls = [call.arguments for each in messages for call in each.calls]
    text = "".join([*(each.content for each in messages), *calls, *map(_to_json, tools)])
    return next(each for each in map(chr, range(0xE000, 0xF900)) if each not in text)


def break_special_tokens(
    tokenizer: Any, messages: Sequence[Message], separator: str
) -> list[Message]:
    """Insert a separator into every special token that messages may not use.

    If a text is split at the separators and its parts are tokenized one by one, these tokens are
    read as plain text.
    """
    patterns = _patterns_of(tokenizer)

    def break_tokens(message: Message) -> Message:
        """The message with a separator in each of these tokens, its calls included."""
        pattern = patterns.of(message)
        texts = [message.content, *(call.arguments for call in message.calls)]
        if not any(map(pattern.search, texts)):
            return message
        content, *arguments = (_break_tokens(pattern, each, separator) for each in texts)
        calls = zip(message.calls, arguments, strict=True)
        return replace(
            message,
            content=content,
            calls=tuple(replace(call, arguments=text) for call, text in calls),
        )

    return [break_tokens(each) for each in messages]


def break_tools(tokenizer: Any, tools: Sequence[Tool], separator: str) -> list[Tool]:
    """Insert a separator into every special token in descriptions of tools."""
    pattern = _patterns_of(tokenizer).others
    texts = map(_to_json, tools)
    return [
        Tool(**json.loads(_break_tokens(pattern, text, separator)))
        if pattern.search(text)
        else tool
        for tool, text in zip(tools, texts, strict=True)
    ]


def _break_tokens(pattern: re.Pattern[str], text: str, separator: str) -> str:
    """A text with a separator behind the first character of all that a pattern fits."""
    return pattern.sub(lambda match: match[0][0] + separator + match[0][1:], text)


def _to_json(tool: Tool) -> str:
    """A tool as JSON."""
    return json.dumps(asdict(tool), ensure_ascii=False)


def _patterns_of(tokenizer: Any) -> _Patterns:
    """Patterns of all special tokens of more than one character that texts may not use."""
    cached = _patterns.setdefault(tokenizer, {})
    allowed = _allowed_tokens(tokenizer)
    template = str(getattr(tokenizer, "chat_template", ""))
    version = (len(tokenizer), *tokenizer.all_special_tokens, -1, *allowed, template)
    if version not in cached:
        ends = {tokenizer.bos_token, tokenizer.eos_token}
        begin = {each for each in turn_tokens(tokenizer) if each in _around_user(tokenizer)[0]}
        others = special_tokens(tokenizer) | turn_tokens(tokenizer)
        patterns = _Patterns(_pattern(begin - ends - {*allowed}), _pattern(others - {*allowed}))
        cached[version] = patterns
    return cached[version]


def _pattern(tokens: set[str]) -> re.Pattern[str]:
    """A pattern of some tokens, the longest first; it fits nothing if there are none."""
    texts = sorted((each for each in tokens if len(each) > 1), key=len, reverse=True)
    return re.compile("|".join(map(re.escape, texts)) or "(?!)")


def turn_tokens(tokenizer: Any) -> set[str]:
    """The tokens that the chat template writes around a user's text; none without a template."""
    around = "".join(_around_user(tokenizer))
    return {text for text in map(str, tokenizer.added_tokens_decoder.values()) if text in around}


def _around_user(tokenizer: Any) -> tuple[str, str]:
    """The text that the chat template writes before and after a user's; empty without one."""
    from jinja2 import TemplateError

    turn = [{"role": "user", "content": _PLACEHOLDER}]
    try:
        text = str(tokenizer.apply_chat_template(turn, tokenize=False))
    except (TemplateError, TypeError, ValueError, AttributeError):  # no template, or it needs more
        return "", ""
    before, _, after = text.partition(_PLACEHOLDER)
    return before, after


def special_tokens(tokenizer: Any) -> set[str]:
    """All special tokens, with those that have no role such as ending a text."""
    added = tokenizer.added_tokens_decoder.values()
    return {str(each) for each in added if each.special} | set(tokenizer.all_special_tokens)


def _allowed_tokens(tokenizer: Any) -> Sequence[str]:
    """The special tokens that texts may use; none for a tokenizer of llama.cpp."""
    allowed = getattr(tokenizer, "init_kwargs", {}).get(_ALLOWED_KEY)
    return tuple(map(str, allowed)) if isinstance(allowed, list) else ()
