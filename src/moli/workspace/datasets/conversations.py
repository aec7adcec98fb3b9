"""Rows with turns, in OpenAI's format or ShareGPT's, to conversations."""

from __future__ import annotations

import ast
import re
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any

from moli.records.examples import Conversation
from moli.records.messages import STRICT_JSON, Message, Role, Tool
from moli.workspace.datasets.fields import (
    Row,
    RowError,
    Values,
    check_encodable,
    is_blank,
    text_of,
)
from moli.workspace.datasets.roles import (
    CALL_ROLES,
    RoleNames,
    folded_role,
    role_of,
    unknown_role,
)
from moli.workspace.datasets.tools import Turn, pair_calls, read_calls, read_tools

# Keys of a turn's role and of its content: OpenAI's, then ShareGPT's.
_ROLE_KEYS, _CONTENT_KEYS = ("role", "from"), ("content", "value")
# Keys of a request and its answer in data that keep both in one turn, such as XTuner's.
_EXCHANGE_KEYS = (
    ("input", "output"),
    ("human", "assistant"),
    ("user", "assistant"),
    ("question", "answer"),
    ("query", "response"),
    ("prompt", "response"),
    ("customer", "agent"),
    ("问", "答"),
    ("客户", "客服"),
)
_CALL_TAG = "<tool_call>"
_NO_COMMA = re.compile(r"\}\s*\n\s*\{")  # in Python's notation, no text has a line break
_MEDIA = ("image", "images", "audios", "videos")  # columns of data for models that see or hear
# Keys by which data say that a turn is outside of the loss: OpenAI's; those of ms-swift and
# AgentInstruct; Axolotl's. A turn without them counts.
_LOSS_KEYS = frozenset({"weight", "loss", "loss_scale", "train", "training"})
_READ_KEYS = {
    *_ROLE_KEYS,
    *_CONTENT_KEYS,
    *_LOSS_KEYS,
    *(key for keys in _EXCHANGE_KEYS for key in keys),
    *("system", "tool_calls", "function_call", "tool_call_id", "name"),
}
_LOSS_VALUES = {"1": True, "1.0": True, "true": True, "0": False, "0.0": False, "false": False}


def read_conversation(values: Values) -> Conversation:
    """The conversation in a row; the assistant may call tools.

    Raises:
        RowError: the turns, the tools or the calls cannot be read or do not fit together.
    """
    for column in _MEDIA:
        if values.get(column):
            raise RowError(f"the row has '{column}'", "Remove the row: only text is read.")
    name = values.name("messages")
    return conversation_of(values, read_turns(values["messages"], name), name)


def read_prompt_and_answer(values: Values) -> Conversation:
    """The conversation in a row whose prompt or answer is a list of turns; the other may be text.

    Raises:
        RowError: as for `read_conversation`.
    """
    turns: list[Turn] = []
    roles: tuple[tuple[str, Role], ...] = (("source", "user"), ("target", "assistant"))
    for column, role in roles:
        if is_turns(values[column]):
            turns += read_turns(values[column], values.name(column))
        else:
            turns.append(Turn(values.name(column), Message(role, text_of(values, column))))
    return conversation_of(values, turns, values.name("target"))


def conversation_of(values: Values, turns: Sequence[Turn], name: str) -> Conversation:
    """The conversation of a row's turns, with its system message and its tools.

    Args:
        name: the column of the turns, for messages.
    """
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
    return isinstance(value, dict) and bool(
        _key_in(value, _ROLE_KEYS) and _key_in(value, _CONTENT_KEYS)
    )


def is_turns(value: Any) -> bool:
    """Whether a value is a turn, a list of turns, or the text of such a list."""
    value = _decoded_turns(value)
    return is_turn(value[0] if isinstance(value, list) and value else value)


def with_roles(row: Row, roles: RoleNames) -> Row:
    """The row with Moli's names for the roles of its turns.

    Args:
        roles: Moli's roles, each with the data set's names for it.
    """
    if not roles:
        return row
    ours = {folded_role(name): role for role, names in roles.items() for name in names}
    values = {column: _with_roles(value, ours) for column, value in row.values.items()}
    return replace(row, values=values)


def _with_roles(value: Any, ours: Mapping[str, Role]) -> Any:
    """Turns with Moli's names for their roles; any other value itself."""
    turns = _decoded_turns(value)
    if isinstance(turns, dict):
        return _with_roles([turns], ours)[0] if _key_in(turns, _ROLE_KEYS) else value
    if not isinstance(turns, list) or not any(map(is_turn, turns)):
        return value
    renamed = []
    for turn in turns:
        key = _key_in(turn, _ROLE_KEYS) if isinstance(turn, dict) else ""
        role = ours.get(folded_role(turn[key])) if key else None
        renamed.append({**turn, key: role} if role else turn)
    return renamed


def unread_keys(value: Any) -> Iterator[str]:
    """Keys of turns that hold something but are not read, such as `reasoning_content`."""
    turns = _decoded_turns(value)
    for turn in turns if isinstance(turns, list) else [turns]:
        if isinstance(turn, dict) and not _READ_KEYS.issuperset(turn):
            yield from (key for key in turn.keys() - _READ_KEYS if turn[key] not in (None, "", []))


def add_missing_answer(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """The row with "?" as the assistant's answer, if its last turn is still to be answered."""
    turns = _decoded_turns(values.get("messages"))
    last = turns[-1] if isinstance(turns, list) and turns else None
    if not isinstance(last, dict) or role_of(_role_name(last)) not in ("user", "tool"):
        return values
    return {**values, "messages": [*turns, {"role": "assistant", "content": "?"}]}


def _decoded_turns(value: Any) -> Any:
    """The list or the object whose JSON or Python notation a text is; any other value itself.

    pandas writes a list into a CSV file in Python's notation, and an array, as a list is that comes
    from Parquet, in NumPy's, which has line breaks in place of the commas.
    """
    if not isinstance(value, str) or not value.lstrip().startswith(("[{", "[ {", "[\n", "{")):
        return value
    try:
        return STRICT_JSON.decode(value.strip())
    except (ValueError, RecursionError):
        pass
    try:
        return ast.literal_eval(_NO_COMMA.sub("}, {", value.strip()))
    except (ValueError, SyntaxError, RecursionError, MemoryError):
        return value


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
        raise RowError(
            f"'{name}' has a system turn that is not the first",
            "Put it first. If it is the assistant's, add this to the recipe: "
            "`roles: {assistant: system}`.",
        )
    roles = [message.role for message in messages if message.role != "system"]
    if "assistant" not in roles:
        raise RowError(f"'{name}' has no assistant turn", "Add the turn to be learnt.")
    for number, (role, next_role) in enumerate(pairwise(roles), 1):
        if role == next_role != "tool":  # several calls have several results
            raise RowError(
                f"'{name}' has two {role} turns in a row, after turn {number}",
                "Merge them, or add the missing turn between them.",
            )


def read_turns(value: Any, name: str) -> list[Turn]:
    """The turns in a column of a row, where a call joins the assistant's turn before it.

    Args:
        name: the column, for messages.
    """
    entries = _decoded_turns(value)
    entries = [entries] if is_turn(entries) else entries
    if not isinstance(entries, list) or not entries:
        raise RowError(
            f"'{name}' is not a list of turns", 'Write [{"role": ..., "content": ...}, ...].'
        )
    turns: list[Turn] = []
    for number, entry in enumerate(entries):
        for part in _split_exchange(entry):
            turn = _read_turn(part, f"{name}[{number}]", entries)
            before = turns[-1].message if turns else None
            is_call = turn.message.calls and _is_call(part)
            if is_call and before and before.role == "assistant":
                calls = before.calls + turn.message.calls
                turns[-1] = replace(turns[-1], message=replace(before, calls=calls))
            else:
                turns.append(turn)
    return turns


def _split_exchange(entry: Any) -> list[Any]:
    """The turns in an entry that holds a request and its answer; else the entry alone."""
    if not isinstance(entry, dict) or _key_in(entry, _ROLE_KEYS):
        return [entry]
    for request, answer in _EXCHANGE_KEYS:
        if request in entry and answer in entry:
            system = [{"role": "system", "content": entry["system"]}] if entry.get("system") else []
            return [
                *system,
                {"role": "user", "content": entry[request]},
                {"role": "assistant", "content": entry[answer]},
            ]
    return [entry]


def _read_turn(turn: Any, where: str, turns: Sequence[Any]) -> Turn:
    """A turn from its value in the row.

    Args:
        where: position of the turn in the row.
        turns: all turns of the row.
    """
    if not isinstance(turn, dict) or not _key_in(turn, _ROLE_KEYS):
        raise _missing_keys(where)
    role = role_of(_role_name(turn))
    if role is None:
        names = [_role_name(each) for each in turns if isinstance(each, dict)]
        raise unknown_role(_role_name(turn), [each for each in names if each], where)
    if role == "assistant" and _is_call(turn):
        calls = read_calls(turn.get(_key_in(turn, _CONTENT_KEYS)), where)
        if not calls:
            raise RowError(f"'{where}' has no call", "Write the call, or remove the turn.")
        return Turn(where, Message(role, "", calls, supervised=_is_supervised(turn, where)))
    calls = read_calls(turn.get("tool_calls") or turn.get("function_call"), where)
    if calls and role != "assistant":
        raise RowError(
            f"'{where}' has tool calls, but the role {role}",
            "Correct the role, or remove the call.",
        )
    content = _read_content(turn, where, role, has_calls=bool(calls))
    call_id = str(turn.get("tool_call_id") or "") if role == "tool" else ""
    tool_name = str(turn.get("name") or "") if role == "tool" else ""
    supervised = role != "assistant" or _is_supervised(turn, where)
    return Turn(where, Message(role, content, calls, call_id, supervised), tool_name)


def _is_supervised(turn: Mapping[str, Any], where: str) -> bool:
    """Whether an assistant's turn counts in the loss: unless one of `_LOSS_KEYS` says 0 or false.

    Raises:
        RowError: a key has a value between 0 and 1, or another one.
    """
    if _LOSS_KEYS.isdisjoint(turn):
        return True
    values = {key: turn[key] for key in sorted(_LOSS_KEYS) if turn.get(key) not in (None, "")}
    for key, value in values.items():
        if str(value).lower() not in _LOSS_VALUES:
            raise RowError(
                f"'{where}' has '{key}': {reprlib.repr(value)}, but a turn counts fully or not",
                "Write 1 to learn the turn, or 0 to leave it out of the loss.",
            )
    return all(_LOSS_VALUES[str(value).lower()] for value in values.values())


def _read_content(turn: Mapping[str, Any], where: str, role: Role, *, has_calls: bool) -> str:
    """The text of a turn; only an assistant's turn with calls may have none."""
    key = _key_in(turn, _CONTENT_KEYS)
    content = turn.get(key)
    if content is None and has_calls:
        content = ""
    elif not key:
        raise _missing_keys(where)
    if isinstance(content, list):
        content = _joined_parts(content, where)
    lacks_answer = role == "assistant" and not has_calls and is_blank(str(content))
    if not isinstance(content, str) or lacks_answer:
        raise RowError(f"'{where}' has no text in '{key}'", "Fill it in, or remove the row.")
    check_encodable(content, where)
    return content


def _joined_parts(parts: Sequence[Any], where: str) -> str | None:
    """The text of a content that is a list of parts, joined as chat templates do; None without."""
    texts = []
    for part in parts:
        text = part.get("text") if isinstance(part, dict) else part
        kind = part.get("type", "text") if isinstance(part, dict) else "text"
        if kind not in ("text", "input_text", "output_text"):
            raise RowError(
                f"'{where}' has a part of the type \"{kind}\"",
                "Remove the part or the row: only text is read.",
            )
        if not isinstance(text, str):
            return None
        texts.append(text)
    return "".join(texts) if texts else None


def _key_in(turn: Mapping[str, Any], keys: Sequence[str]) -> str:
    """The first of some keys that a turn has; "" if it has none."""
    for key in keys:  # no generator: this runs several times a turn
        if key in turn:
            return key
    return ""


def _is_call(turn: Any) -> bool:
    """Whether a turn's role says that it is nothing but calls."""
    return isinstance(turn, dict) and folded_role(_role_name(turn)) in CALL_ROLES


def _role_name(turn: Mapping[str, Any]) -> Any:
    """The name of a turn's role in the data; "" without one."""
    return turn.get(_key_in(turn, _ROLE_KEYS), "")


def _missing_keys(where: str) -> RowError:
    """The error for a turn without a role or a content."""
    return RowError(f"'{where}' lacks 'role' or 'content'", 'Write {"role": ..., "content": ...}.')
