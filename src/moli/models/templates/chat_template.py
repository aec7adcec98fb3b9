"""Conversations as the text that a model reads, and which characters of it are the assistant's.

A conversation is rendered with an assistant's turn, and as the prompt for that turn; the text that
the first has beyond the second is supervised. So a model is trained on exactly the text that a
server asks it for, whatever the template is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from moli.models.templates.special_tokens import (
    break_special_tokens,
    break_tools,
    unused_character,
)
from moli.models.templates.template_inputs import template_inputs
from moli.records.errors import InputError
from moli.records.messages import Message, Tool

# For base models that have no template: plain words, so that no token is new to them. The space
# before an answer belongs to the answer, as it does in the tokens of byte-level tokenizers.
DEFAULT_CHAT_TEMPLATE = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "{{ 'Assistant: ' + message['content'] + eos_token + '\n' }}"
    "{% else %}{{ message['role'].capitalize() + ': ' + message['content'] + '\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)


@dataclass(frozen=True, slots=True)
class RenderedConversation:
    """A conversation as text, with the places of the assistant's answers.

    Attributes:
        parts: pieces of the text, to be tokenized one by one, so that special tokens that a user
            has written are split and read as letters.
        answer_spans: first and last (exclusive) character of each answer, including what ends it.
        ends_with_eos: whether the last answer ends with the token that ends a text.
    """

    parts: tuple[str, ...]
    answer_spans: tuple[tuple[int, int], ...]
    ends_with_eos: bool

    @property
    def text(self) -> str:
        """The whole text, its parts joined."""
        return "".join(self.parts)


def render_for_training(
    tokenizer: Any, messages: Sequence[Message], tools: Sequence[Tool] = ()
) -> list[RenderedConversation]:
    """Render a conversation with all its supervised answers.

    The result is one text, or one text for each answer if the template writes earlier turns
    differently from the last one, as templates do that drop earlier thoughts. A first message from
    the assistant answers nobody, so it is no answer. What follows the last answer is dropped.

    Raises:
        InputError: the template refuses the conversation, or does not write an answer as the
            continuation of the prompt for it.
    """
    replies = [n for n, message in enumerate(messages) if message.role == "assistant" and n]
    answers = [n for n in replies if messages[n].supervised]
    if not answers:
        return []
    separator = unused_character(messages, tools)
    messages = break_special_tokens(tokenizer, messages, separator)
    tools = break_tools(tokenizer, tools, separator)
    prompts = [render_prompt(tokenizer, messages[:n], tools) for n in answers]
    texts = [
        _begin_with_prompt(prompt, _render(tokenizer, messages[: n + 1], tools))
        for n, prompt in zip(answers, prompts, strict=True)
    ]
    eos = tokenizer.eos_token or ""
    spans = [
        (len(prompt), _answer_end(text, len(prompt), eos))
        for prompt, text in zip(prompts, texts, strict=True)
    ]
    if all(texts[-1].startswith(text[:end]) for text, (_, end) in zip(texts, spans, strict=True)):
        return [_split_at_separators(texts[-1], spans, separator, eos)]
    return [
        _split_at_separators(text, [span], separator, eos)
        for text, span in zip(texts, spans, strict=True)
    ]


def render_prompt(tokenizer: Any, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> str:
    """The text that a server lets the model continue with its answer.

    Raises:
        InputError: the template refuses the conversation.
    """
    return _render(tokenizer, messages, tools, add_generation_prompt=True)


def prompt_ids(
    tokenizer: Any, messages: Sequence[Message], tools: Sequence[Tool] = ()
) -> list[int]:
    """Tokens of the prompt, with a BOS token only if the template writes one.

    Only the template writes the tokens that part turns. Where a text has one, as a document might
    that wants to speak for somebody else, the text is split inside it and so read as letters.

    Raises:
        InputError: the template refuses the conversation.
    """
    separator = unused_character(messages, tools)
    messages = break_special_tokens(tokenizer, messages, separator)
    tools = break_tools(tokenizer, tools, separator)
    parts = render_prompt(tokenizer, messages, tools).split(separator)
    encodings = [tokenizer(part, add_special_tokens=False, verbose=False) for part in parts]
    return [token for encoding in encodings for token in encoding["input_ids"]]


def _split_at_separators(
    text: str, spans: Sequence[tuple[int, int]], separator: str, eos: str
) -> RenderedConversation:
    """Split a text at its separators, and count the characters of its answers without them.

    Args:
        text: a rendering; what follows the last answer is dropped.
        spans: first and last (exclusive) character of each answer, with separators.
    """
    text = text[: spans[-1][1]]

    def without_separators(position: int) -> int:
        """The position in the text without separators that a position in `text` corresponds to."""
        return position - text.count(separator, 0, position)

    return RenderedConversation(
        parts=tuple(text.split(separator)),
        answer_spans=tuple((without_separators(a), without_separators(b)) for a, b in spans),
        ends_with_eos=bool(eos) and text.endswith(eos),
    )


def _begin_with_prompt(prompt: str, text: str) -> str:
    """A rendering of a conversation, made to begin with exactly the prompt for its last answer.

    Some templates write other white space after a turn if another turn follows, as Hermes's do for
    tools. The prompt's white space is kept, since the prompt is what is served.

    Raises:
        InputError: the rendering differs from the prompt in more than white space.
    """
    if text.startswith(prompt):
        return text
    words, at = prompt.rstrip(), 0
    for letter in filter(str.strip, words):
        while text[at : at + 1].isspace():
            at += 1
        if text[at : at + 1] != letter:
            break
        at += 1
    else:
        if text.startswith(prompt[len(words) :], at):
            return words + text[at:]
    raise InputError(
        "the chat template does not write an answer as the continuation of its prompt",
        where="template",
        fix="Give one that does: template: FILE.jinja.",
    )


def _answer_end(text: str, start: int, eos: str) -> int:
    """End of the answer that begins at `start`: after its EOS token, or else the end of the text.

    Text that the template writes after the EOS token is not the assistant's.
    """
    at = text.rfind(eos, start) if eos else -1
    return at + len(eos) if at >= 0 else len(text)


def _render(
    tokenizer: Any,
    messages: Sequence[Message],
    tools: Sequence[Tool],
    *,
    add_generation_prompt: bool = False,
) -> str:
    """Apply the chat template.

    Raises:
        InputError: the template refuses the conversation.
    """
    from jinja2 import TemplateError

    try:
        inputs = template_inputs(tokenizer, messages, tools)
        text = tokenizer.apply_chat_template(
            **inputs, tokenize=False, add_generation_prompt=add_generation_prompt
        )
    except (TemplateError, TypeError, ValueError) as error:
        raise InputError(
            f"the chat template refuses the conversation ({error})",
            where="template",
            fix="Change the conversation's roles, or give another template.",
        ) from error
    return str(text)
