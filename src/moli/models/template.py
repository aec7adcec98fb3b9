"""Conversations as the text a model reads, and which characters of it are the assistant's.

A turn of the assistant is what the whole rendering has beyond the rendering of the turns before it
with the prompt to answer. So what is learnt is, by construction, what a server asks the model to
continue with, whatever the template is.

Tools and calls are the template's to write, where it can. For one that cannot, they are put into
the words of the conversation.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from moli.models.tools import HERMES, MISTRAL, dialect_of, knows_tools, written
from moli.records.errors import InputError
from moli.records.messages import Message, Tool, ToolCall

# For bases that have none: plain words, so that no token is new to them. The space before an answer
# is the answer's, as it is in the tokens of byte-level tokenizers.
PLAIN = (
    "{% for message in messages %}"
    "{% if message['role'] == 'assistant' %}"
    "{{ 'Assistant: ' + message['content'] + eos_token + '\n' }}"
    "{% else %}{{ message['role'].capitalize() + ': ' + message['content'] + '\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ 'Assistant:' }}{% endif %}"
)

_TOLD = """You may call these tools:

{tools}

To call one, write its name and its arguments as JSON, so:
{mark}
{{"name": ..., "arguments": {{...}}}}
{end}
You are then told what it gave."""


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


def render(
    tokenizer: Any, messages: Sequence[Message], tools: Sequence[Tool] = ()
) -> list[Rendered]:
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
    wholes = [_text(tokenizer, messages[: number + 1], tools) for number in said]
    starts = [
        _start(whole, prompt(tokenizer, messages[:number], tools))
        for number, whole in zip(said, wholes, strict=True)
    ]
    stop = tokenizer.eos_token or ""
    spans = [(start, _end(whole, start, stop)) for start, whole in zip(starts, wholes, strict=True)]
    if all(wholes[-1].startswith(w[:end]) for w, (_, end) in zip(wholes, spans, strict=True)):
        ended = bool(stop) and wholes[-1][: spans[-1][1]].endswith(stop)
        return [Rendered(wholes[-1][: spans[-1][1]], tuple(spans), ended)]
    return [
        Rendered(whole[: span[1]], (span,), bool(stop) and whole[: span[1]].endswith(stop))
        for whole, span in zip(wholes, spans, strict=True)
    ]


def prompt(tokenizer: Any, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> str:
    """What a server gives the model to continue.

    Raises:
        InputError: the template refuses the conversation, or a call's arguments are no JSON object.
    """
    return _text(tokenizer, messages, tools, asking=True)


def prompt_ids(
    tokenizer: Any, messages: Sequence[Message], tools: Sequence[Tool] = ()
) -> list[int]:
    """Its tokens. The template writes what marks the beginning, so the tokenizer adds nothing."""
    text = prompt(tokenizer, messages, tools)
    return list(tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"])


def _start(whole: str, asked: str) -> int:
    """Where an answer starts."""
    if not whole.startswith(asked):
        raise InputError(
            "the chat template does not write an answer as the continuation of its prompt",
            where="template",
            fix="Give one that does: template: FILE.jinja.",
        )
    return len(asked)


def _end(whole: str, start: int, stop: str) -> int:
    """Where a turn ends: with its stop token; what the template writes after that is not said."""
    at = whole.rfind(stop, start) if stop else -1
    return at + len(stop) if at >= 0 else len(whole)


def _text(
    tokenizer: Any, messages: Sequence[Message], tools: Sequence[Tool], *, asking: bool = False
) -> str:
    from jinja2 import TemplateError

    offered = [_offered(each) for each in tools] or None
    try:
        template = tokenizer.get_chat_template(tools=offered)
        if not knows_tools(template):
            messages, offered = _in_words(messages, tools), None
        text = tokenizer.apply_chat_template(
            _turns(messages, template), offered, tokenize=False, add_generation_prompt=asking
        )
    except (TemplateError, ValueError) as error:
        raise InputError(
            f"the chat template refuses the conversation ({error})",
            where="template",
            fix="Change the conversation's roles, or give another template.",
        ) from error
    return str(text)


def _in_words(messages: Sequence[Message], tools: Sequence[Tool]) -> list[Message]:
    """The conversation with its tools and calls in what is said."""
    said = [_said(each) for each in messages]
    if not tools:
        return said
    told = _TOLD.format(tools="\n".join(map(_told, tools)), mark=HERMES.mark, end=HERMES.end)
    if said and said[0].role == "system":
        return [replace(said[0], content=f"{said[0].content}\n\n{told}"), *said[1:]]
    return [Message("system", told), *said]


def _told(tool: Tool) -> str:
    schema = json.dumps(dict(tool.parameters), ensure_ascii=False)
    head = ": ".join(filter(None, (tool.name, tool.description)))
    return f"- {head}\n  Arguments, as a JSON schema: {schema}"


def _said(message: Message) -> Message:
    for call in message.calls:
        _arguments(call)
    parts = [message.content] if message.content else []
    content = "\n".join(parts + [written(each) for each in message.calls])
    return replace(message, content=content, calls=())


# Turns, tools and calls as templates know them.


def _turns(messages: Sequence[Message], template: str) -> list[dict[str, Any]]:
    named = {call.id: call.name for each in messages for call in each.calls}
    short = dialect_of(template) is MISTRAL
    turns = []
    for each in messages:
        turn: dict[str, Any] = {"role": each.role, "content": each.content}
        if each.calls:
            turn["tool_calls"] = [
                {
                    "id": _short(call.id) if short else call.id,
                    "type": "function",
                    "function": {"name": call.name, "arguments": _arguments(call)},
                }
                for call in each.calls
            ]
        if each.call_id:
            turn["tool_call_id"] = _short(each.call_id) if short else each.call_id
        if each.call_id in named:
            turn["name"] = named[each.call_id]
        turns.append(turn)
    return turns


def _offered(tool: Tool) -> dict[str, Any]:
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.parameters),
    }
    return {"type": "function", "function": function}


def _arguments(call: ToolCall) -> dict[str, Any]:
    try:
        arguments = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        arguments = None
    if not isinstance(arguments, dict):
        raise InputError(
            f"the arguments of a call of '{call.name}' are no JSON object",
            where="messages",
            fix="Pass them as the model wrote them.",
        )
    return arguments


def _short(call_id: str) -> str:
    """An id as Mistral's templates want them: 9 letters and digits."""
    if re.fullmatch("[a-zA-Z0-9]{9}", call_id):
        return call_id
    return hashlib.sha256(call_id.encode()).hexdigest()[:9]
