"""Rows with turns to conversations, in OpenAI's format and in ShareGPT's."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any

from moli.records.examples import Conversation
from moli.records.messages import Message, Role, Tool
from moli.workspace.datasets.fields import Unfit, Values, encodable, text_of
from moli.workspace.datasets.tools import Turn, called, offered, paired

_CALLS = "function_call"  # ShareGPT's role of a turn that is nothing but calls
_ROLES: Mapping[str, Role] = {
    "system": "system",
    "developer": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    _CALLS: "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
}
_MARK = "<tool_call>"
# The column of the turns, and in a turn who speaks and what.
MESSAGES = ("messages", "role", "content")
SHAREGPT = ("conversations", "from", "value")


def messages(values: Values) -> Conversation:
    """Turns with a role and a content; the assistant's may call tools."""
    return _conversation(values, *MESSAGES)


def sharegpt(values: Values) -> Conversation:
    """Turns with a sender and a value; those from `function_call` are calls, as JSON."""
    return _conversation(values, *SHAREGPT)


def is_turn(value: Any) -> bool:
    """Whether something is a turn, whatever it says."""
    return isinstance(value, dict) and any(
        role_key in value and text_key in value for _, role_key, text_key in (MESSAGES, SHAREGPT)
    )


def ended(
    column: str, role_key: str, text_key: str, values: Mapping[str, Any]
) -> Mapping[str, Any]:
    """A row whose turns end with an answer: "?" if it is still to be given."""
    turns = values.get(column)
    last = turns[-1] if isinstance(turns, list) and turns else None
    asks = isinstance(last, dict) and _ROLES.get(str(last.get(role_key))) in ("user", "tool")
    if not (turns and asks):
        return values
    return {**values, column: [*turns, {role_key: "assistant", text_key: "?"}]}


def system(values: Values) -> list[Message]:
    """The system's message, where a row has it in a column of its own."""
    return [Message("system", text_of(values, "system"))] if values.get("system") else []


def _conversation(values: Values, column: str, role_key: str, text_key: str) -> Conversation:
    given, name = values[column], values.name(column)
    if not isinstance(given, list) or not given:
        raise Unfit(f"'{name}' is not a list of turns", f"Write [{{'{role_key}': ...}}, ...].")
    turns = [
        _turn(each, f"{name}[{number}]", role_key, text_key) for number, each in enumerate(given)
    ]
    tools, told = offered(values), system(values)
    if _in_words(turns):
        said = told + [each.message for each in turns]
        tools = _untold(tools, said)
    else:
        said = told + paired(turns, tools, values.name("tools"))
    _check_order(said, name)
    return Conversation(tuple(said), tools)


def _in_words(turns: Sequence[Turn]) -> bool:
    """Whether calls stand in the assistant's words, as in Hermes's data: they are learnt so."""
    said = [each.message for each in turns if each.message.role == "assistant"]
    return not any(each.calls for each in said) and any(_MARK in each.content for each in said)


def _untold(tools: Sequence[Tool], said: Sequence[Message]) -> tuple[Tool, ...]:
    """The tools of which the system's words do not tell already."""
    told = said[0].content if said[0].role == "system" else ""
    return tuple(
        each for each in tools if not re.search(rf"['\"]{re.escape(each.name)}['\"]", told)
    )


def _check_order(said: Sequence[Message], name: str) -> None:
    if any(each.role == "system" for each in said[1:]):
        raise Unfit(f"'{name}' has a system turn that is not the first", "Put it first.")
    turns_taken = [each.role for each in said if each.role != "system"]
    if "assistant" not in turns_taken:
        raise Unfit(f"'{name}' has no assistant turn", "Add the turn to be learnt.")
    for number, (before, after) in enumerate(pairwise(turns_taken), 1):
        if before == after != "tool":  # several calls have several answers
            raise Unfit(
                f"'{name}' has two {before} turns in a row, after turn {number}",
                "Merge them, or add the missing turn between them.",
            )


def _turn(turn: Any, where: str, role_key: str, text_key: str) -> Turn:
    if not isinstance(turn, dict) or role_key not in turn:
        raise _lacking(where, role_key, text_key)
    role = _ROLES.get(str(turn[role_key]))
    if role is None:
        raise Unfit(
            f"'{where}' has the role \"{turn[role_key]}\"; expected one of {', '.join(_ROLES)}",
            "Correct the role.",
        )
    if turn[role_key] == _CALLS:
        calls = called(turn.get(text_key), where)
        if not calls:
            raise Unfit(f"'{where}' has no call", "Write the call, or remove the turn.")
        return Turn(where, Message(role, "", calls))
    calls = called(turn.get("tool_calls") or turn.get("function_call"), where)
    if calls and role != "assistant":
        raise Unfit(
            f"'{where}' has tool calls, but the role {role}",
            "Correct the role, or remove the call.",
        )
    content = turn.get(text_key)
    if content is None and calls:
        content = ""
    elif text_key not in turn:
        raise _lacking(where, role_key, text_key)
    if not isinstance(content, str) or (role == "assistant" and not content.strip() and not calls):
        raise Unfit(f"'{where}' has no text in '{text_key}'", "Fill it in, or remove the row.")
    encodable(content, where)
    answered = str(turn.get("tool_call_id") or "") if role == "tool" else ""
    name = str(turn.get("name") or "") if role == "tool" else ""
    return Turn(where, Message(role, content, calls, answered), name)


def _lacking(where: str, role_key: str, text_key: str) -> Unfit:
    return Unfit(
        f"'{where}' lacks '{role_key}' or '{text_key}'",
        f"Write {{'{role_key}': ..., '{text_key}': ...}}.",
    )
