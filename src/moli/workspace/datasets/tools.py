"""Tools in the conversation of a row: the tools offered, the calls to them, and their results."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, groupby
from typing import Any

from moli.records.messages import STRICT_JSON, Message, Tool, ToolCall
from moli.workspace.datasets.fields import RowError, Values, check_encodable

_TOOL_HINT = 'Write {"type": "function", "function": {"name": ..., "parameters": {...}}}.'
_CALL_HINT = 'Write {"name": ..., "arguments": {...}}, or a list of these.'


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn of a conversation, with its origin.

    Attributes:
        where: position in the row, such as `messages[2]`.
        message: the turn as a message; calls and results have ids only if the row has them.
        tool_name: for a tool's turn, the name of the tool if the row has it; else "".
    """

    where: str
    message: Message
    tool_name: str = ""


def read_tools(values: Values) -> tuple[Tool, ...]:
    """The tools of a row, which are a list or the JSON of one; empty if there are none.

    Raises:
        RowError: the column holds something else.
    """
    value, name = values.get("tools"), values.name("tools")
    if value in (None, "", []):
        return ()
    tools = decode_json(value)
    if not isinstance(tools, list):
        raise RowError(f"'{name}' is not a list of tools, or its JSON", _TOOL_HINT)
    return tuple(_read_tool(tool, f"{name}[{number}]") for number, tool in enumerate(tools))


def _read_tool(value: Any, where: str) -> Tool:
    """A tool from its value in the row; `where` is its position in the row."""
    function = _function_of(value, where, _TOOL_HINT)
    description = function.get("description") or ""
    if not isinstance(description, str):
        raise RowError(f"'{where}' has a description that is not text", "Write it as text.")
    tool = Tool(function["name"], description)
    if function.get("parameters") not in (None, ""):
        parameters = decode_json(function["parameters"])
        if not isinstance(parameters, dict) or not _to_json(parameters):
            raise RowError(f"'{where}' has parameters that are not a JSON schema", _TOOL_HINT)
        tool = replace(tool, parameters=parameters)
    check_encodable("\n".join((tool.name, description, _to_json(tool.parameters))), where)
    return tool


def read_calls(value: Any, where: str) -> tuple[ToolCall, ...]:
    """The calls of a turn, which are one, a list, or the JSON of either. Some may have no id.

    Raises:
        RowError: the value is something else, or the arguments of a call are not a JSON object.
    """
    if value in (None, "", []):
        return ()
    decoded = decode_json(value)
    calls = [decoded] if isinstance(decoded, dict) else decoded
    if not isinstance(calls, list):
        raise RowError(f"'{where}' has calls that are not JSON objects", _CALL_HINT)
    return tuple(_read_call(call, where) for call in calls)


def _read_call(value: Any, where: str) -> ToolCall:
    """A call from its value in the row; `where` is its position in the row."""
    function = _function_of(value, where, _CALL_HINT)
    name, arguments = function["name"], function.get("arguments")
    decoded = decode_json(arguments)
    as_json = _to_json(decoded)
    if not isinstance(decoded, dict) or not as_json:
        raise RowError(
            f"'{where}' calls \"{name}\" with arguments that are not a JSON object",
            'Write {"name": value, ...}, or {} if there are none.',
        )
    check_encodable(as_json, where)
    text = arguments.strip() if isinstance(arguments, str) else as_json
    return ToolCall(str(value.get("id") or ""), name, text)


def _function_of(value: Any, where: str, hint: str) -> Mapping[str, Any]:
    """The mapping with the function's name: the value itself, or inside OpenAI's wrapping."""
    function = value.get("function", value) if isinstance(value, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str) or not name.strip():
        raise RowError(f"'{where}' does not name a function", hint)
    return function


def pair_calls(turns: Sequence[Turn], tools: Sequence[Tool], column: str) -> list[Message]:
    """Messages in which every call has an id and every tool's result refers to one.

    Args:
        column: the column of the tools, for messages.

    Raises:
        RowError: a call fits no tool, or has no result before the conversation continues, or a
            tool's turn answers no call.
    """
    if not any(turn.message.calls or turn.message.role == "tool" for turn in turns):
        return [turn.message for turn in turns]
    by_name = {tool.name: tool for tool in tools}
    numbers = count()
    messages: list[Message] = []
    pending: list[ToolCall] = []  # calls without a result so far
    for is_results, run in groupby(turns, key=lambda turn: turn.message.role == "tool"):
        if is_results:
            results = _one_turn_per_call(list(run), pending)
            messages += [_result_message(turn, pending) for turn in results]
            continue
        for turn in run:
            if pending:
                raise RowError(
                    f"the call to \"{pending[0].name}\" has no result before '{turn.where}'",
                    "Add the tool's result before it, in a turn of its own.",
                )
            for call in turn.message.calls:
                _check_call(call, by_name, turn.where, column)
            pending = list(_with_ids(turn.message.calls, numbers, turn.where))
            messages.append(replace(turn.message, calls=tuple(pending)))
    return messages


def _check_call(call: ToolCall, tools: Mapping[str, Tool], where: str, column: str) -> None:
    """Check that a call is to one of the tools and has all required arguments."""
    if call.name not in tools:
        near = difflib.get_close_matches(call.name, tools, n=1)
        offers = f"The row offers: {', '.join(tools)}." if tools else "The row offers no tools."
        raise RowError(
            f"'{where}' calls \"{call.name}\", which is not offered",
            f"Call it \"{near[0]}\", or add it to '{column}'." if near else f"{offers} Add it.",
        )
    required = tools[call.name].parameters.get("required")
    arguments = json.loads(call.arguments)
    for name in required if isinstance(required, list) else ():
        if name not in arguments:
            raise RowError(
                f'\'{where}\' calls "{call.name}" without "{name}", which is required',
                "Add it to the arguments, or remove it from 'required'.",
            )


def _with_ids(calls: Sequence[ToolCall], numbers: Iterator[int], where: str) -> Iterable[ToolCall]:
    """The calls, with new ids for those that have none."""
    with_ids = [call if call.id else replace(call, id=f"call_{next(numbers)}") for call in calls]
    if len({call.id for call in with_ids}) < len(with_ids):
        raise RowError(f"'{where}' has two calls with the same id", "Give each its own id.")
    return with_ids


def _one_turn_per_call(results: list[Turn], pending: Sequence[ToolCall]) -> list[Turn]:
    """The turns with results, split where one turn holds the results of several calls.

    LLaMA-Factory's data write them as a JSON list in one turn, because their turns alternate.
    """
    first = results[0]
    is_anonymous = not first.message.call_id and not first.tool_name
    if len(results) == 1 < len(pending) and is_anonymous:
        parts = decode_json(first.message.content)
        if isinstance(parts, list) and len(parts) == len(pending):
            texts = [part if isinstance(part, str) else _to_json(part) for part in parts]
            return [replace(first, message=replace(first.message, content=text)) for text in texts]
    return results


def _result_message(turn: Turn, pending: list[ToolCall]) -> Message:
    """A tool's result with the id of its call, which is removed from the pending ones.

    A turn without an id and without a name belongs to the first pending call.
    """
    call_id = turn.message.call_id
    for call in pending:
        if call_id == call.id if call_id else turn.tool_name in ("", call.name):
            pending.remove(call)
            return replace(turn.message, call_id=call.id)
    named = call_id or turn.tool_name
    whose = f'"{named}", which is not a pending call' if named else "no call"
    raise RowError(
        f"'{turn.where}' answers {whose}",
        "Add the call to the assistant's turn before it, or correct 'tool_call_id'.",
    )


def decode_json(value: Any) -> Any:
    """A text's value as JSON, or None if it is not JSON; any other value itself."""
    if not isinstance(value, str):
        return value
    try:
        return STRICT_JSON.decode(value)
    except (ValueError, RecursionError):
        return None


def _to_json(value: Any) -> str:
    """A value as JSON; "" if it cannot be written, such as infinity and bytes."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return ""
