"""Conversations as the text a model reads, and which characters of it are the assistant's.

A turn of the assistant is what the whole rendering has beyond the rendering of the turns before it
with the prompt to answer. So what is learnt is, by construction, what a server asks the model to
continue with, whatever the template is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from moli.records.errors import InputError
from moli.records.messages import Message

# For bases that have none: plain words, so that no token is new to them. The space before an answer
# is the answer's, as it is in the tokens of byte-level tokenizers.
PLAIN = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "{{ 'Assistant: ' + message['content'] + eos_token + '\n' }}"
    "{% else %}{{ message['role'].capitalize() + ': ' + message['content'] + '\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


@dataclass(frozen=True, slots=True)
class Rendered:
    """A text and the parts of it that the assistant said, each with what ends its turn.

    Attributes:
        spans: first and last (exclusive) character of each part.
        ended: whether the last part ends with the token that ends a text.
    """

    text: str
    spans: tuple[tuple[int, int], ...]
    ended: bool


def render(tokenizer: Any, messages: Sequence[Message]) -> list[Rendered]:
    """A conversation as text: once, or once for each turn of the assistant where the template
    writes earlier turns otherwise than the last one (as those do that drop earlier thoughts).

    A turn of the assistant that nothing comes before answers nobody, and is read only.

    Raises:
        InputError: the template refuses the conversation, or does not write an answer as the
            continuation of the prompt for it.
    """
    said = [number for number, each in enumerate(messages) if each.role == "assistant" and number]
    if not said:
        return []
    wholes = [_text(tokenizer, messages[: number + 1]) for number in said]
    starts = [len(_prompt(tokenizer, messages, n, w)) for n, w in zip(said, wholes, strict=True)]
    stop = tokenizer.eos_token or ""
    spans = [(start, _end(whole, start, stop)) for start, whole in zip(starts, wholes, strict=True)]
    if all(wholes[-1].startswith(w[:end]) for w, (_, end) in zip(wholes, spans, strict=True)):
        ended = bool(stop) and wholes[-1][: spans[-1][1]].endswith(stop)
        return [Rendered(wholes[-1][: spans[-1][1]], tuple(spans), ended)]
    return [
        Rendered(whole[: span[1]], (span,), bool(stop) and whole[: span[1]].endswith(stop))
        for whole, span in zip(wholes, spans, strict=True)
    ]


def prompt(tokenizer: Any, messages: Sequence[Message]) -> str:
    """What a server gives the model to continue."""
    return _text(tokenizer, messages, asking=True)


def prompt_ids(tokenizer: Any, messages: Sequence[Message]) -> list[int]:
    """Its tokens. The template writes what marks the beginning, so the tokenizer adds nothing."""
    text = prompt(tokenizer, messages)
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def _prompt(tokenizer: Any, messages: Sequence[Message], number: int, whole: str) -> str:
    asked = prompt(tokenizer, messages[:number])
    if not whole.startswith(asked):
        raise InputError(
            "the chat template does not write an answer as the continuation of its prompt",
            where="template",
            fix="Give one that does: template: FILE.jinja.",
        )
    return asked


def _end(whole: str, start: int, stop: str) -> int:
    """Where a turn ends: with its stop token; what the template writes after that is not said."""
    at = whole.rfind(stop, start) if stop else -1
    return at + len(stop) if at >= 0 else len(whole)


def _text(tokenizer: Any, messages: Sequence[Message], *, asking: bool = False) -> str:
    from jinja2 import TemplateError

    turns = [{"role": each.role, "content": each.content} for each in messages]
    try:
        text = tokenizer.apply_chat_template(turns, tokenize=False, add_generation_prompt=asking)
    except (TemplateError, ValueError) as error:
        raise InputError(
            f"the chat template refuses the conversation ({error})",
            where="template",
            fix="Change the conversation's roles, or give another template.",
        ) from error
    return str(text)
