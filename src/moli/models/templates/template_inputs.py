"""Messages and tools in the form that chat templates read.

Tools and calls become text where a template cannot write them.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from moli.models.templates.tool_call_formats import (
    HERMES,
    MISTRAL,
    detect_format,
    supports_tools,
    write_hermes_call,
)
from moli.records.messages import Message, Tool, ToolCall

_TOOL_INSTRUCTIONS = """You may call these tools:

{tools}

To call one, write its name and its arguments as JSON, so:
{begin}
{{"name": ..., "arguments": {{...}}}}
{end}
You are then told what it gave."""


def template_inputs(
    tokenizer: Any, messages: Sequence[Message], tools: Sequence[Tool]
) -> dict[str, Any]:
    """The arguments `conversation` and `tools` of the tokenizer's `apply_chat_template`.

    Raises:
        ValueError: there is no template.
    """
    tool_dicts = [_tool_dict(each) for each in tools] or None
    template = tokenizer.get_chat_template(tools=tool_dicts)
    messages = [each if _has_arguments(each) else _with_calls_as_text(each) for each in messages]
    if not supports_tools(template):
        messages, tool_dicts = _with_tools_as_text(messages, tools), None
    return {"conversation": _message_dicts(messages, template), "tools": tool_dicts}


def _with_tools_as_text(messages: Sequence[Message], tools: Sequence[Tool]) -> list[Message]:
    """Messages without calls, for a template that cannot write tools.

    The system message describes the tools, and each call is text at the end of its message.
    """
    plain = [_with_calls_as_text(each) for each in messages]
    if not tools:
        return plain
    described = "\n".join(map(_describe_tool, tools))
    instructions = _TOOL_INSTRUCTIONS.format(tools=described, begin=HERMES.begin, end=HERMES.end)
    if plain and plain[0].role == "system":
        return [replace(plain[0], content=f"{plain[0].content}\n\n{instructions}"), *plain[1:]]
    return [Message("system", instructions), *plain]


def _describe_tool(tool: Tool) -> str:
    """A tool's name, description and parameters as text."""
    schema = json.dumps(dict(tool.parameters), ensure_ascii=False)
    head = ": ".join(filter(None, (tool.name, tool.description)))
    return f"- {head}\n  Arguments, as a JSON schema: {schema}"


def _with_calls_as_text(message: Message) -> Message:
    """The message with its calls as text, in the Hermes format, at the end of its content."""
    parts = [message.content] if message.content else []
    content = "\n".join(parts + [write_hermes_call(each) for each in message.calls])
    return replace(message, content=content, calls=())


def _message_dicts(messages: Sequence[Message], template: str) -> list[dict[str, Any]]:
    """Messages as dictionaries with the names of OpenAI's chat API.

    Args:
        template: the chat template; Mistral's needs ids of calls in a form of its own.
    """
    tool_names: dict[str, str] = {}  # by the id of a call
    shorten = _mistral_call_id if detect_format(template) is MISTRAL else str
    dicts = []
    for message in messages:
        # An id may be used again later in the conversation.
        tool_names |= {call.id: call.name for call in message.calls}
        fields: dict[str, Any] = {"role": message.role, "content": message.content}
        if message.calls:
            fields["tool_calls"] = [
                {
                    "id": shorten(call.id),
                    "type": "function",
                    "function": {"name": call.name, "arguments": _parse_arguments(call)},
                }
                for call in message.calls
            ]
        if message.call_id:
            fields["tool_call_id"] = shorten(message.call_id)
        if message.call_id in tool_names:
            fields["name"] = tool_names[message.call_id]
        dicts.append(fields)
    return dicts


def _tool_dict(tool: Tool) -> dict[str, Any]:
    """A tool as OpenAI's chat API describes a function."""
    function = {
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.parameters),
    }
    return {"type": "function", "function": function}


def _has_arguments(message: Message) -> bool:
    """Whether the arguments of all calls of a message are JSON objects.

    Others were cut, or the model made a mistake that it is told about in the next message.
    """
    return all(_parse_arguments(call) is not None for call in message.calls)


def _parse_arguments(call: ToolCall) -> dict[str, Any] | None:
    """The arguments of a call; None if they are not a JSON object."""
    try:
        arguments = json.loads(call.arguments or "{}")
    except (ValueError, RecursionError):
        return None
    return arguments if isinstance(arguments, dict) else None


def _mistral_call_id(call_id: str) -> str:
    """The id in the form that Mistral's templates require, 9 letters and digits.

    It is the id itself if it has that form, otherwise the beginning of its hash.
    """
    if re.fullmatch("[a-zA-Z0-9]{9}", call_id):
        return call_id
    return hashlib.sha256(call_id.encode()).hexdigest()[:9]
