"""Tools through OpenAI's own client: calls, what comes back from them, and their deltas."""

from __future__ import annotations

import json
from typing import Any

import openai
import pytest
from conformance.served import BASE, TALK
from openai import OpenAI

from moli.workspace import Workspace


def tool(name: str) -> Any:
    schema = {
        "type": "object",
        "properties": {"city": {"enum": ["Torino", "上海"]}, "days": {"enum": [1, 2, 3]}},
        "required": ["city", "days"],
        "additionalProperties": False,
    }
    return {"type": "function", "function": {"name": name, "parameters": schema}}


TOOLS = [tool("weather"), tool("tides")]
ASKED: Any = {"model": BASE, "messages": TALK, "tools": TOOLS, "seed": 3, "max_tokens": 90}


def check(name: str, arguments: str) -> None:
    assert name in ("weather", "tides")
    parsed = json.loads(arguments)
    assert parsed["city"] in ("Torino", "上海") and parsed["days"] in (1, 2, 3)


@pytest.mark.slow
@pytest.mark.parametrize("choice", ["required", "tides"])
def test_a_call_that_is_asked_for_is_made(client: OpenAI, choice: str) -> None:
    """By a model that has never seen a tool."""
    named: Any = {"type": "function", "function": {"name": choice}}
    answer = client.chat.completions.create(
        **ASKED,
        tool_choice="required" if choice == "required" else named,
        parallel_tool_calls=False,
    ).choices[0]
    assert answer.finish_reason == "tool_calls"
    assert answer.message.content is None
    [call] = answer.message.tool_calls or []
    assert call.type == "function" and call.id
    check(call.function.name, call.function.arguments)
    if choice != "required":
        assert call.function.name == choice


@pytest.mark.slow
def test_deltas_of_calls_add_up(client: OpenAI) -> None:
    whole = client.chat.completions.create(**ASKED, tool_choice="required").choices[0].message
    stream = client.chat.completions.create(**ASKED, tool_choice="required", stream=True)
    built: dict[int, dict[str, str]] = {}
    reasons = []
    for part in stream:
        choice = part.choices[0]
        reasons.append(choice.finish_reason)
        for call in choice.delta.tool_calls or []:
            if call.index not in built:
                assert call.id and call.type == "function" and call.function
                assert call.function.name
                built[call.index] = {"name": call.function.name, "arguments": ""}
            assert call.function
            built[call.index]["arguments"] += call.function.arguments or ""
    assert reasons[-1] in ("tool_calls", "length") and not any(reasons[:-1])
    calls = whole.tool_calls or []
    assert list(built) == list(range(len(calls))) and calls
    for index, call in enumerate(calls):
        assert built[index] == {"name": call.function.name, "arguments": call.function.arguments}


def test_the_clients_own_stream_helper_reads_the_calls(client: OpenAI) -> None:
    options = ASKED | {"tool_choice": "required", "parallel_tool_calls": False}
    with client.chat.completions.stream(**options) as stream:
        answer = stream.get_final_completion()
    for call in answer.choices[0].message.tool_calls or []:
        check(call.function.name, call.function.arguments)
    assert answer.choices[0].message.tool_calls


def test_what_a_tool_gave_is_read(client: OpenAI, served: Workspace) -> None:
    call: Any = {
        "id": "call_1",
        "type": "function",
        "function": {"name": "weather", "arguments": '{"city": "Torino", "days": 1}'},
    }
    talk: Any = [
        *TALK,
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "sunny"},
    ]
    made = client.chat.completions.create(model=BASE, messages=talk, tools=TOOLS, max_tokens=4)
    kept = served.exchanges.get(made.id.removeprefix("chatcmpl-"))
    assert kept.messages[1].calls[0].arguments == '{"city": "Torino", "days": 1}'
    assert (kept.messages[2].content, kept.messages[2].call_id) == ("sunny", "call_1")
    assert [each.name for each in kept.tools] == ["weather", "tides"]


def test_tools_that_must_not_be_called_are_not_told(client: OpenAI, served: Workspace) -> None:
    plain: Any = {"model": BASE, "messages": TALK, "temperature": 0, "max_tokens": 9}
    without = client.chat.completions.create(**plain)
    none = client.chat.completions.create(**plain, tools=TOOLS, tool_choice="none")
    assert none.choices[0].message.content == without.choices[0].message.content
    assert none.usage and without.usage
    assert none.usage.prompt_tokens == without.usage.prompt_tokens
    auto = client.chat.completions.create(**plain, tools=TOOLS)
    assert auto.usage and auto.usage.prompt_tokens > none.usage.prompt_tokens + 50


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tools": [], "tool_choice": "required"}, "tool_choice"),
        ({"tool_choice": {"type": "function", "function": {"name": "snow"}}}, "snow"),
        ({"tools": [{"type": "function", "function": {"name": "a b"}}]}, "name"),
        ({"tools": [{"type": "code_interpreter"}]}, "type"),
    ],
)
def test_tools_that_make_no_sense_are_refused(client: OpenAI, change: Any, message: str) -> None:
    with pytest.raises(openai.BadRequestError, match=message):
        client.chat.completions.create(**ASKED | change)
