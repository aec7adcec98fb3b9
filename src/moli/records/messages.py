"""Messages of a conversation, tools, and calls to them."""

import json
from collections.abc import Mapping
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
