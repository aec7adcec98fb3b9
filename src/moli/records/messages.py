"""Messages of a conversation, tools, and calls to them."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]


def _reject_constant(constant: str) -> Any:
    """Raise an error for NaN and Infinity, which JSON does not have."""
    raise ValueError(f"{constant} is not JSON")


STRICT_JSON = json.JSONDecoder(parse_constant=_reject_constant)  # Python accepts NaN and Infinity


def _no_parameters() -> dict[str, Any]:
    """The JSON schema of a tool without parameters."""
    return {"type": "object", "properties": {}}


@dataclass(frozen=True, slots=True)
class Tool:
    """A function that a model may call.

    Attributes:
        parameters: JSON schema of the arguments, which are an object; by default without any.
        strict: whether objects in the arguments have no other properties than the schema names.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=_no_parameters, hash=False)
    strict: bool = False


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A model's call to a tool.

    Attributes:
        id: the id that the tool's result refers to.
        arguments: a JSON object, exactly as the model wrote it.
    """

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation; a tool's turn is the result of a call by the assistant.

    Attributes:
        calls: for the assistant, tool calls that follow the content.
        call_id: for a tool, the id of the call that it answers.
        supervised: for the assistant in training data, whether the turn counts in the loss.
    """

    role: Role
    content: str
    calls: tuple[ToolCall, ...] = ()
    call_id: str = ""
    supervised: bool = True


def message_text(message: Message) -> str:
    """The message's content and its tool calls."""
    calls = (f"{each.name} {each.arguments}" for each in message.calls)
    return "\n".join((message.content, *calls))


def tool_text(tool: Tool) -> str:
    """A tool's name, description and parameters."""
    return f"{tool.name}: {tool.description} {json.dumps(dict(tool.parameters))}"


def transcript(messages: Iterable[Message], tools: Iterable[Tool] = ()) -> str:
    """The tools and the turns of a conversation, each with its role, as one text."""
    turns = (f"{each.role}: {message_text(each)}" for each in messages)
    return "\n".join((*map(tool_text, tools), *turns))


def last_request(messages: Sequence[Message]) -> str:
    """The user's last message; "" if there is none."""
    return next((each.content for each in reversed(messages) if each.role == "user"), "")


def message_row(message: Message) -> dict[str, Any]:
    """A message as OpenAI and data sets write it."""
    row: dict[str, Any] = {"role": message.role, "content": message.content}
    if message.calls:
        row["tool_calls"] = [
            {"id": call.id, "function": {"name": call.name, "arguments": call.arguments}}
            for call in message.calls
        ]
    if message.call_id:
        row["tool_call_id"] = message.call_id
    return row


def tool_row(tool: Tool) -> dict[str, Any]:
    """A tool as OpenAI and data sets write it."""
    parameters = dict(tool.parameters)
    return {"name": tool.name, "description": tool.description, "parameters": parameters}
