"""Tools in a row's conversation: those offered, the calls to them, and their results."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import count, groupby
from typing import Any

from moli.records.messages import STRICT_JSON, Message, Tool, ToolCall
from moli.workspace.datasets.fields import Unfit, Values, encodable

_TOOL = 'Write {"type": "function", "function": {"name": ..., "parameters": {...}}}.'
_CALL = 'Write {"name": ..., "arguments": {...}}, or a list of these.'


@dataclass(frozen=True, slots=True)
class Turn:
    """A turn as it is in its row.

    Attributes:
        where: its place, such as `messages[2]`.
        message: its calls and results have ids if the row gives them any.
        name: of the tool, if a tool's turn gives it.
    """

    where: str
    message: Message
    name: str = ""


def offered(values: Values) -> tuple[Tool, ...]:
    """The tools of a row: a list of them, or its JSON; empty if there are none.

    Raises:
        Unfit: it is something else.
    """
    given, name = values.get("tools"), values.name("tools")
    if given in (None, "", []):
        return ()
    listed = _value(given)
    if not isinstance(listed, list):
        raise Unfit(f"'{name}' is not a list of tools, or its JSON", _TOOL)
    return tuple(_tool(each, f"{name}[{number}]") for number, each in enumerate(listed))


def _tool(given: Any, where: str) -> Tool:
    function = _function(given, where, _TOOL)
    description = function.get("description") or ""
    if not isinstance(description, str):
        raise Unfit(f"'{where}' has a description that is not text", "Write a string.")
    made = Tool(function["name"], description)
    if (given := function.get("parameters")) not in (None, ""):
        parameters = _value(given)
        if not isinstance(parameters, dict) or not _json(parameters):
            raise Unfit(f"'{where}' has parameters that are not a JSON schema", _TOOL)
        made = replace(made, parameters=parameters)
    encodable("\n".join((made.name, description, _json(made.parameters))), where)
    return made


def called(given: Any, where: str) -> tuple[ToolCall, ...]:
    """The calls that a turn makes: one, a list of them, or its JSON. Some may have no id.

    Raises:
        Unfit: it is something else, or the arguments of one are not a JSON object.
    """
    if given in (None, "", []):
        return ()
    value = _value(given)
    listed = [value] if isinstance(value, dict) else value
    if not isinstance(listed, list):
        raise Unfit(f"'{where}' has calls that are not JSON objects", _CALL)
    return tuple(_call(each, where) for each in listed)


def _call(given: Any, where: str) -> ToolCall:
    function = _function(given, where, _CALL)
    name, arguments = function["name"], function.get("arguments")
    value = _value(arguments)
    written = _json(value)
    if not isinstance(value, dict) or not written:
        raise Unfit(
            f"'{where}' calls \"{name}\" with arguments that are not a JSON object",
            'Write {"name": value, ...}, or {} if there are none.',
        )
    encodable(written, where)
    as_given = arguments.strip() if isinstance(arguments, str) else written
    return ToolCall(str(given.get("id") or ""), name, as_given)


def _function(given: Any, where: str, fix: str) -> Mapping[str, Any]:
    """What has the name, with or without OpenAI's wrapping around it."""
    function = given.get("function", given) if isinstance(given, dict) else None
    name = function.get("name") if isinstance(function, dict) else None
    if not isinstance(function, dict) or not isinstance(name, str) or not name.strip():
        raise Unfit(f"'{where}' does not name a function", fix)
    return function


def paired(turns: Sequence[Turn], tools: Sequence[Tool], column: str) -> list[Message]:
    """Turns with calls that fit their tools, each with an id that its result refers to.

    Args:
        column: where the tools stand.

    Raises:
        Unfit: a call fits no tool, or has no result before the conversation continues, or a tool's
            turn answers no call.
    """
    known = {each.name: each for each in tools}
    numbers = count()
    messages: list[Message] = []
    waiting: list[ToolCall] = []  # calls that have no answer yet
    for answers, run in groupby(turns, key=lambda each: each.message.role == "tool"):
        if answers:
            messages += [_answer(each, waiting) for each in _one_each(list(run), waiting)]
            continue
        for turn in run:
            if waiting:
                raise Unfit(
                    f"the call to \"{waiting[0].name}\" has no result before '{turn.where}'",
                    "Add the tool's result before it, in a turn of its own.",
                )
            for call in turn.message.calls:
                _check(call, known, turn.where, column)
            waiting = list(_with_ids(turn.message.calls, numbers, turn.where))
            messages.append(replace(turn.message, calls=tuple(waiting)))
    return messages


def _check(call: ToolCall, known: Mapping[str, Tool], where: str, column: str) -> None:
    """See that a call is one of a tool that is offered, with all that this requires."""
    if call.name not in known:
        near = difflib.get_close_matches(call.name, known, n=1)
        offers = f"The row offers: {', '.join(known)}." if known else "The row offers no tools."
        raise Unfit(
            f"'{where}' calls \"{call.name}\", which is not offered",
            f"Call it \"{near[0]}\", or add it to '{column}'." if near else f"{offers} Add it.",
        )
    required = known[call.name].parameters.get("required")
    arguments = json.loads(call.arguments)
    for name in required if isinstance(required, list) else ():
        if name not in arguments:
            raise Unfit(
                f'\'{where}\' calls "{call.name}" without "{name}", which is required',
                "Add it to the arguments, or remove it from 'required'.",
            )


def _with_ids(calls: Sequence[ToolCall], numbers: Iterator[int], where: str) -> Iterable[ToolCall]:
    made = [each if each.id else replace(each, id=f"call_{next(numbers)}") for each in calls]
    if len({each.id for each in made}) < len(made):
        raise Unfit(f"'{where}' has two calls with the same id", "Give each its own id.")
    return made


def _one_each(answers: list[Turn], waiting: Sequence[ToolCall]) -> list[Turn]:
    """A turn for each call: what several calls gave may stand in one turn, as a JSON list.

    LLaMA-Factory's data have it so, as their turns alternate.
    """
    only = answers[0]
    if len(answers) == 1 < len(waiting) and not only.message.call_id and not only.name:
        parts = _value(only.message.content)
        if isinstance(parts, list) and len(parts) == len(waiting):
            texts = [each if isinstance(each, str) else _json(each) for each in parts]
            return [replace(only, message=replace(only.message, content=text)) for text in texts]
    return answers


def _answer(turn: Turn, waiting: list[ToolCall]) -> Message:
    """What a tool gave, for the call that it says or else for the first that waits."""
    said = turn.message.call_id
    for call in waiting:
        if said == call.id if said else turn.name in ("", call.name):
            waiting.remove(call)
            return replace(turn.message, call_id=call.id)
    whose = (
        f'"{said or turn.name}", which is not a pending call' if said or turn.name else "no call"
    )
    raise Unfit(
        f"'{turn.where}' answers {whose}",
        "Add the call to the assistant's turn before it, or correct 'tool_call_id'.",
    )


def _value(given: Any) -> Any:
    """What is there, or what it is the JSON of; None for other texts."""
    if not isinstance(given, str):
        return given
    try:
        return STRICT_JSON.decode(given)
    except (ValueError, RecursionError):
        return None


def _json(value: Any) -> str:
    """A value as JSON; "" where it has none, as infinity and bytes."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return ""
