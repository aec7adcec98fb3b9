"""Rows with turns, in OpenAI's format or ShareGPT's, to conversations."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from moli.records.examples import Conversation
from moli.records.messages import Message, Role, Tool
from moli.workspace.datasets.fields import RowError, Values, check_encodable, text_of
from moli.workspace.datasets.tools import Turn, pair_calls, read_calls, read_tools

_CALLS_ROLE = "function_call"  # ShareGPT's role of a turn that contains nothing but calls
_ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    _CALLS_ROLE: "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
}
_CALL_TAG = "<tool_call>"


@dataclass(frozen=True, slots=True)
class TurnKeys:
    """The column that holds the turns, and the keys of each turn's role and content."""

    column: str
    role: str
    content: str


MESSAGES_KEYS = TurnKeys("messages", "role", "content")
SHAREGPT_KEYS = TurnKeys("conversations", "from", "value")


def read_conversation(values: Values, keys: TurnKeys) -> Conversation:
    """The conversation in a row; the assistant may call tools.

    Raises:
        RowError: the turns, the tools or the calls cannot be read or do not fit together.
    """
    turns_value, name = values[keys.column], values.name(keys.column)
    if not isinstance(turns_value, list) or not turns_value:
        raise RowError(f"'{name}' is not a list of turns", f"Write [{{'{keys.role}': ...}}, ...].")
    turns = [_read_turn(turn, f"{name}[{number}]", keys) for number, turn in enumerate(turns_value)]
    tools, messages = read_tools(values), system_messages(values)
    if _has_calls_as_text(turns):
        messages += [turn.message for turn in turns]
        tools = _without_described(tools, messages)
    else:
        messages += pair_calls(turns, tools, values.name("tools"))
    _check_order(messages, name)
    return Conversation(tuple(messages), tools)


def is_turn(value: Any) -> bool:
    """Whether a value is a turn, of whatever content."""
    return isinstance(value, dict) and any(
        keys.role in value and keys.content in value for keys in (MESSAGES_KEYS, SHAREGPT_KEYS)
    )


def add_missing_answer(values: Mapping[str, Any], keys: TurnKeys) -> Mapping[str, Any]:
    """The row with "?" as the assistant's answer, if its last turn is still to be answered."""
    turns = values.get(keys.column)
    last = turns[-1] if isinstance(turns, list) and turns else None
    is_open = isinstance(last, dict) and _ROLES.get(str(last.get(keys.role))) in ("user", "tool")
    if not (turns and is_open):
        return values
    return {**values, keys.column: [*turns, {keys.role: "assistant", keys.content: "?"}]}


def system_messages(values: Values) -> list[Message]:
    """The system message of a row that has it in a column of its own; else no message."""
    return [Message("system", text_of(values, "system"))] if values.get("system") else []


def _has_calls_as_text(turns: Sequence[Turn]) -> bool:
    """Whether calls are written in the assistant's text, as in Hermes's data, and so not parsed."""
    messages = [turn.message for turn in turns if turn.message.role == "assistant"]
    if any(message.calls for message in messages):
        return False
    return any(_CALL_TAG in message.content for message in messages)


def _without_described(tools: Sequence[Tool], messages: Sequence[Message]) -> tuple[Tool, ...]:
    """The tools that the system message does not describe already."""
    system = messages[0].content if messages[0].role == "system" else ""
    return tuple(
        tool for tool in tools if not re.search(rf"['\"]{re.escape(tool.name)}['\"]", system)
    )


def _check_order(messages: Sequence[Message], name: str) -> None:
    """Check that user and assistant alternate, after at most one system message."""
    if any(message.role == "system" for message in messages[1:]):
        raise RowError(f"'{name}' has a system turn that is not the first", "Put it first.")
    roles = [message.role for message in messages if message.role != "system"]
    if "assistant" not in roles:
        raise RowError(f"'{name}' has no assistant turn", "Add the turn to be learnt.")
    for number, (role, next_role) in enumerate(pairwise(roles), 1):
        if role == next_role != "tool":  # several calls have several results
            raise RowError(
                f"'{name}' has two {role} turns in a row, after turn {number}",
                "Merge them, or add the missing turn between them.",
            )


def _read_turn(turn: Any, where: str, keys: TurnKeys) -> Turn:
    """A turn from its value in the row; `where` is its position in the row."""
    if not isinstance(turn, dict) or keys.role not in turn:
        raise _missing_keys(where, keys)
    role = _ROLES.get(str(turn[keys.role]))
    if role is None:
        raise RowError(
            f"'{where}' has the role \"{turn[keys.role]}\"; expected one of {', '.join(_ROLES)}",
            "Correct the role.",
        )
    if turn[keys.role] == _CALLS_ROLE:
        calls = read_calls(turn.get(keys.content), where)
        if not calls:
            raise RowError(f"'{where}' has no call", "Write the call, or remove the turn.")
        return Turn(where, Message(role, "", calls))
    calls = read_calls(turn.get("tool_calls") or turn.get("function_call"), where)
    if calls and role != "assistant":
        raise RowError(
            f"'{where}' has tool calls, but the role {role}",
            "Correct the role, or remove the call.",
        )
    content = _read_content(turn, where, keys, role, has_calls=bool(calls))
    call_id = str(turn.get("tool_call_id") or "") if role == "tool" else ""
    tool_name = str(turn.get("name") or "") if role == "tool" else ""
    return Turn(where, Message(role, content, calls, call_id), tool_name)


def _read_content(
    turn: Mapping[str, Any], where: str, keys: TurnKeys, role: Role, *, has_calls: bool
) -> str:
    """The text of a turn; only an assistant's turn with calls may have none."""
    content = turn.get(keys.content)
    if content is None and has_calls:
        content = ""
    elif keys.content not in turn:
        raise _missing_keys(where, keys)
    is_blank = isinstance(content, str) and role == "assistant" and not content.strip()
    if not isinstance(content, str) or (is_blank and not has_calls):
        raise RowError(
            f"'{where}' has no text in '{keys.content}'", "Fill it in, or remove the row."
        )
    check_encodable(content, where)
    return content


def _missing_keys(where: str, keys: TurnKeys) -> RowError:
    """The error for a turn without a role or a content."""
    return RowError(
        f"'{where}' lacks '{keys.role}' or '{keys.content}'",
        f"Write {{'{keys.role}': ..., '{keys.content}': ...}}.",
    )
