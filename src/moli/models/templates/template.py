"""Conversations as the text a model reads, and which characters of it are the assistant's.

A turn of the assistant is what the whole rendering has beyond the rendering of the turns before it
with the prompt to answer. So what is learnt is, by construction, what a server asks the model to
continue with, whatever the template is.

The template writes tools and calls if it can. Otherwise they are put into the text of the
conversation.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from moli.models.templates.tool_calls import HERMES, MISTRAL, dialect_of, knows_tools, written
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
    """A text, and what of it the assistant said.

    Attributes:
        parts: of the text; each is cut into tokens by itself, see `prompt_ids`.
        spans: first and last (exclusive) character of each answer, with what ends its turn.
        ended: whether the last answer ends with the token that ends a text.
    """

    parts: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]
    ended: bool

    @property
    def text(self) -> str:
        """The whole."""
        return "".join(self.parts)


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
    messages, cut = _parted(tokenizer, messages)
    prompts = [prompt(tokenizer, messages[:number], tools) for number in said]
    wholes = [
        _continued(asked, _text(tokenizer, messages[: number + 1], tools))
        for number, asked in zip(said, prompts, strict=True)
    ]
    starts = list(map(len, prompts))
    stop = tokenizer.eos_token or ""
    spans = [(start, _end(whole, start, stop)) for start, whole in zip(starts, wholes, strict=True)]

    def made(whole: str, own: list[tuple[int, int]]) -> Rendered:
        text = whole[: own[-1][1]]
        ended = bool(stop) and text.endswith(stop)
        places = [(a - text.count(cut, 0, a), b - text.count(cut, 0, b)) for a, b in own]
        return Rendered(tuple(text.split(cut)), tuple(places), ended)

    if all(wholes[-1].startswith(w[:end]) for w, (_, end) in zip(wholes, spans, strict=True)):
        return [made(wholes[-1], spans)]
    return [made(whole, [span]) for whole, span in zip(wholes, spans, strict=True)]


def prompt(tokenizer: Any, messages: Sequence[Message], tools: Sequence[Tool] = ()) -> str:
    """What a server gives the model to continue.

    Raises:
        InputError: the template refuses the conversation, or a call's arguments are no JSON object.
    """
    return _text(tokenizer, messages, tools, asking=True)


def prompt_ids(
    tokenizer: Any, messages: Sequence[Message], tools: Sequence[Tool] = ()
) -> list[int]:
    """Its tokens. The template writes what marks the beginning, so the tokenizer adds nothing.

    Only the template writes tokens that mark turns. Where a user or a tool says one, as a document
    might that wants to speak for somebody else, the text is cut within it: it is read as letters.
    """
    messages, cut = _parted(tokenizer, messages)
    parts = prompt(tokenizer, messages, tools).split(cut)
    read = [tokenizer(each, add_special_tokens=False, verbose=False) for each in parts]
    return [token for each in read for token in each["input_ids"]]


def _parted(tokenizer: Any, messages: Sequence[Message]) -> tuple[list[Message], str]:
    """Messages with a character where they are to be cut, and that character."""
    whole = "".join(each.content for each in messages)
    cut = next(each for each in map(chr, range(0xE000, 0xF900)) if each not in whole)
    words = sorted((each for each in _marking(tokenizer) if len(each) > 1), key=len, reverse=True)
    pattern = re.compile("|".join(map(re.escape, words)) or "(?!)")

    def parted(message: Message) -> Message:
        if message.role == "assistant" or not pattern.search(message.content):
            return message
        content = pattern.sub(lambda found: found[0][0] + cut + found[0][1:], message.content)
        return replace(message, content=content)

    return [parted(each) for each in messages], cut


def _marking(tokenizer: Any) -> set[str]:
    """Tokens that say where a text or turn begins and ends, or who speaks."""
    added = tokenizer.added_tokens_decoder.values()
    return {str(each) for each in added if each.special} | set(tokenizer.all_special_tokens)


def _continued(asked: str, whole: str) -> str:
    """The prompt for an answer, and the answer as a rendering with it goes on.

    Some templates write a turn with other spaces where one follows it, as Hermes's do a tool's. The
    prompt is what is served.
    """
    if whole.startswith(asked):
        return whole
    words, at = asked.rstrip(), 0
    for letter in filter(str.strip, words):
        while whole[at : at + 1].isspace():
            at += 1
        if whole[at : at + 1] != letter:
            break
        at += 1
    else:
        if whole.startswith(asked[len(words) :], at):
            return words + whole[at:]
    raise InputError(
        "the chat template does not write an answer as the continuation of its prompt",
        where="template",
        fix="Give one that does: template: FILE.jinja.",
    )


def _end(whole: str, start: int, stop: str) -> int:
    """Where a turn ends: with its stop token; what the template writes after that is not said."""
    at = whole.rfind(stop, start) if stop else -1
    return at + len(stop) if at >= 0 else len(whole)


def _text(
    tokenizer: Any, messages: Sequence[Message], tools: Sequence[Tool], *, asking: bool = False
) -> str:
    from jinja2 import TemplateError

    try:
        text = tokenizer.apply_chat_template(
            *shown(tokenizer, messages, tools), tokenize=False, add_generation_prompt=asking
        )
    except (TemplateError, TypeError, ValueError) as error:
        raise InputError(
            f"the chat template refuses the conversation ({error})",
            where="template",
            fix="Change the conversation's roles, or give another template.",
        ) from error
    return str(text)


def shown(
    tokenizer: Any, messages: Sequence[Message], tools: Sequence[Tool]
) -> tuple[list[dict[str, Any]], list[dict[str, Any]] | None]:
    """Turns and tools as the tokenizer's template is given them.

    Raises:
        InputError: a call's arguments are not a JSON object.
        ValueError: there is no template.
    """
    offered = [_offered(each) for each in tools] or None
    template = tokenizer.get_chat_template(tools=offered)
    if not knows_tools(template):
        messages, offered = _in_words(messages, tools), None
    return _turns(messages, template), offered


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
    named: dict[str, str] = {}
    short = dialect_of(template) is MISTRAL
    turns = []
    for each in messages:
        named |= {call.id: call.name for call in each.calls}  # an id may be used again later
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
            f"the arguments of a call of '{call.name}' are not a JSON object",
            where="messages",
            fix="Pass them as the model wrote them.",
        )
    return arguments


def _short(call_id: str) -> str:
    """An id as Mistral's templates want them: 9 letters and digits."""
    if re.fullmatch("[a-zA-Z0-9]{9}", call_id):
        return call_id
    return hashlib.sha256(call_id.encode()).hexdigest()[:9]
