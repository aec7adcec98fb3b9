"""Tool calls in training data: whether a template can write them, and a server parse them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from moli.models.templates.chat_template import (
    RenderedConversation,
    render_for_training,
    render_prompt,
)
from moli.models.templates.tool_call_formats import detect_format, supports_tools
from moli.models.templates.tool_call_parser import ToolCallParser, join_tool_calls
from moli.records.errors import InputError
from moli.records.messages import Message, Tool, ToolCall


@dataclass(frozen=True, slots=True)
class _CallContent:
    """A tool call without its id, and with parsed arguments, so that calls can be compared."""

    name: str
    arguments: Any


# A conversation with a tool, a call and a result, in words that no template contains.
_TOOL = Tool("find_quoll", "Finds quolls.", {"type": "object", "properties": {"near": {}}})
_CALL = ToolCall("call_0", _TOOL.name, '{"near": "Yarralin"}')
_CONVERSATION = (
    Message("user", "Where?"),
    Message("assistant", "", (_CALL,)),
    Message("tool", "Timberline", call_id=_CALL.id),
    Message("assistant", "There."),
)


def check_template(tokenizer: Any, *, has_results: bool) -> None:
    """Check that the chat template writes tools and calls in a form that can be parsed again.

    Args:
        has_results: whether the data have results of calls, which it must write as well.

    Raises:
        InputError: the template does not.
    """
    messages = _CONVERSATION if has_results else _CONVERSATION[:2]
    try:
        first = render_for_training(tokenizer, messages, [_TOOL])[0]
        request = render_prompt(tokenizer, messages[:1], [_TOOL])
        with_result = render_prompt(tokenizer, messages[:3], [_TOOL]) if has_results else ""
    except InputError as error:
        reason = error.what.removeprefix("the chat template ")
        raise _template_error(f"cannot hold tools and calls ({reason})") from error
    if _TOOL.name not in request:
        raise _template_error("does not say which tools there are")
    if _parsed_calls(tokenizer, _answers([first])[0], [_TOOL]) != _calls_of(_CONVERSATION[1]):
        raise _template_error("does not write calls in a form that a server can parse")
    if has_results and _CONVERSATION[2].content not in with_result:
        raise _template_error("does not write the results of tools")


def _template_error(what: str) -> InputError:
    """The error that a template cannot be used."""
    return InputError(
        f"the chat template {what}, but rows of the data call tools",
        where="template",
        fix="Use one that does, with template: FILE.jinja, or remove these rows.",
    )


def tool_call_problems(
    tokenizer: Any,
    rendered: Sequence[RenderedConversation],
    messages: Sequence[Message],
    tools: Sequence[Tool],
) -> list[str]:
    """Ways in which a server would misread the calls of a conversation; empty if there is none.

    Args:
        rendered: the messages as the template writes them for training.
    """
    if not tools:
        return []
    problems = []
    if not supports_tools(tokenizer.get_chat_template(tools=[{}])):
        problems.append(
            "it has no place for tools; they are described in plain text, as a server does"
        )
    replies = [each for n, each in enumerate(messages) if each.role == "assistant" and n]
    for answer, reply in zip(_answers(rendered), replies, strict=True):
        if _parsed_calls(tokenizer, answer, tools) != _calls_of(reply):
            problems.append("a server would parse different calls from an answer than it makes")
        elif reply.calls and reply.content.strip() not in answer:
            problems.append("it drops the text beside a call")
    return problems


def _parsed_calls(tokenizer: Any, answer: str, tools: Sequence[Tool]) -> list[_CallContent]:
    """The calls that a server parses from an answer, whose special tokens it decodes to nothing."""
    ids = tokenizer(answer, add_special_tokens=False)["input_ids"]
    text = tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    parser = ToolCallParser(detect_format(tokenizer.get_chat_template(tools=[{}])), tools)
    calls = join_tool_calls(parser.feed(text) + parser.close())
    return [_content_of(each) for each in calls]


def _calls_of(message: Message) -> list[_CallContent]:
    """The calls that a message makes."""
    return [_content_of(call) for call in message.calls]


def _content_of(call: ToolCall) -> _CallContent:
    """A call's name and parsed arguments; arguments that are not JSON stay text."""
    try:
        return _CallContent(call.name, json.loads(call.arguments or "{}"))
    except ValueError:
        return _CallContent(call.name, call.arguments)


def _answers(rendered: Sequence[RenderedConversation]) -> list[str]:
    """The assistant's messages as the template writes them, with their special tokens."""
    return [each.text[start:end] for each in rendered for start, end in each.answer_spans]
