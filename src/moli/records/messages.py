"""Messages of a conversation, and the tools that it may call."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Role = Literal["system", "user", "assistant", "tool"]


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


STRICT_JSON = json.JSONDecoder(parse_constant=_refuse)  # Python reads NaN and Infinity otherwise


def _none() -> dict[str, Any]:
    return {"type": "object", "properties": {}}


@dataclass(frozen=True, slots=True)
class Tool:
    """What a model may call.

    Attributes:
        parameters: a JSON schema of its arguments, which are an object; of none by default.
    """

    name: str
    description: str = ""
    parameters: Mapping[str, Any] = field(default_factory=_none, hash=False)  # a dict has none


@dataclass(frozen=True, slots=True)
class ToolCall:
    """A call that a model made.

    Attributes:
        id: by which the tool's turn says what it answers.
        arguments: a JSON object, as the model wrote it.
    """

    id: str
    name: str
    arguments: str


@dataclass(frozen=True, slots=True)
class Message:
    """One turn; a tool's is what came back from a call that the assistant made.

    Attributes:
        calls: of the assistant's turn, after its content.
        call_id: of a tool's turn: the call that it answers.
    """

    role: Role
    content: str
    calls: tuple[ToolCall, ...] = ()
    call_id: str = ""
