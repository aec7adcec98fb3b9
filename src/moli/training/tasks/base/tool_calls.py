"""Tool calls in training data: whether a template can write them, and a server parse them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from moli.models.templates.chat_template import (
    RenderedConversation,
    render_for_training,
    render_prompt,
)
from moli.models.templates.tool_call_formats import detect_format, supports_tools
from moli.models.templates.tool_call_parser import ToolCallParser
from moli.records.errors import InputError
from moli.records.messages import Message, Tool, ToolCall

Called = list[tuple[str, Any]]  # names, each with its arguments

# A conversation with one of each, in words that no template has.
_TOOL = Tool("find_quoll", "Finds quolls.", {"type": "object", "properties": {"near": {}}})
_CALL = ToolCall("call_0", _TOOL.name, '{"near": "Yarralin"}')
_TALK = (
    Message("user", "Where?"),
    Message("assistant", "", (_CALL,)),
    Message("tool", "Timberline", call_id=_CALL.id),
    Message("assistant", "There."),
)


def check_template(tokenizer: Any, *, answered: bool) -> None:
    """Check that the chat template writes tools and calls, natively or as text, to be parsed again.

    Args:
        answered: whether there are results of calls, which it must write as well.

    Raises:
        InputError: it does not.
    """
    talk = _TALK if answered else _TALK[:2]
    try:
        first = render_for_training(tokenizer, talk, [_TOOL])[0]
        asked = render_prompt(tokenizer, talk[:1], [_TOOL])
        again = render_prompt(tokenizer, talk[:3], [_TOOL]) if answered else ""
    except InputError as error:
        reason = error.what.removeprefix("the chat template ")
        raise _unable(f"cannot hold tools and calls ({reason})") from error
    if _TOOL.name not in asked:
        raise _unable("does not say which tools there are")
    if read_back(tokenizer, _answers([first])[0], [_TOOL]) != made(_TALK[1]):
        raise _unable("does not write calls in a form that a server can parse")
    if answered and _TALK[2].content not in again:
        raise _unable("does not write the results of tools")


def _unable(what: str) -> InputError:
    return InputError(
        f"the chat template {what}, but rows of the data call tools",
        where="template",
        fix="Use one that does, with template: FILE.jinja, or remove these rows.",
    )


def problems(
    tokenizer: Any,
    rendered: Sequence[RenderedConversation],
    messages: Sequence[Message],
    tools: Sequence[Tool],
) -> list[str]:
    """How a server would misread a conversation's calls."""
    if not tools:
        return []
    found = []
    if not supports_tools(tokenizer.get_chat_template(tools=[{}])):
        found.append(
            "it has no place for tools; they are described in plain text, as a server does"
        )
    said = [each for n, each in enumerate(messages) if each.role == "assistant" and n]
    for answer, each in zip(_answers(rendered), said, strict=True):
        if read_back(tokenizer, answer, tools) != made(each):
            found.append("a server would parse different calls from an answer than it makes")
        elif each.calls and each.content.strip() not in answer:
            found.append("it drops the text beside a call")
    return found


def read_back(tokenizer: Any, answer: str, tools: Sequence[Tool]) -> Called:
    """The calls that a server parses from an answer, whose special tokens have no text there."""
    ids = tokenizer(answer, add_special_tokens=False)["input_ids"]
    text = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    calls = ToolCallParser(detect_format(tokenizer.get_chat_template(tools=[{}])), tools)
    pieces = calls.feed(text) + calls.close()
    return [_value(each) for each in pieces if isinstance(each, ToolCall)]


def made(message: Message) -> Called:
    """The calls that a turn makes."""
    return [_value(each) for each in message.calls]


def _value(call: ToolCall) -> tuple[str, Any]:
    return call.name, json.loads(call.arguments or "{}")


def _answers(rendered: Sequence[RenderedConversation]) -> list[str]:
    return [each.text[start:end] for each in rendered for start, end in each.answer_spans]
