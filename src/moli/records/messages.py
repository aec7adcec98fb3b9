"""Messages of a conversation."""

from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "user", "assistant", "tool"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn; a tool's is what came back from a call that the assistant made."""

    role: Role
    content: str
