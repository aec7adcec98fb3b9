"""OpenAI's own client: chat completions, and its helpers for streams and parsing."""

from __future__ import annotations

import json
from typing import Any, Literal

from cases import MODEL, QUESTION, URL, by_name, report
from openai import OpenAI
from pydantic import BaseModel

CLIENT = OpenAI(base_url=URL, api_key="none", max_retries=0)
TALK: list[Any] = [{"role": "user", "content": QUESTION}]
WORDS = "[A-Z][a-z]{2,8}( [a-z]{2,8}){2,4}[.]"
FEW: Any = {"model": MODEL, "extra_body": {"regex": WORDS}}


class Weather(BaseModel):
    city: Literal["Torino", "上海"]


TOOL: Any = {
    "type": "function",
    "function": {"name": "weather", "strict": True, "parameters": Weather.model_json_schema()},
}
CALLING: Any = {"model": MODEL, "messages": TALK, "tools": [TOOL], "tool_choice": "required"}


def text() -> None:
    answer = CLIENT.chat.completions.create(messages=TALK, **FEW)
    assert answer.choices[0].message.content and answer.usage


def stream() -> None:
    with CLIENT.chat.completions.stream(messages=TALK, **FEW) as events:
        kinds = [event.type for event in events]
        final = events.get_final_completion()
    assert "content.delta" in kinds and final.choices[0].message.content


def second_turn() -> None:
    message = CLIENT.chat.completions.create(messages=TALK, **FEW).choices[0].message
    talk = [*TALK, message.model_dump(), {"role": "user", "content": "And then?"}]
    assert CLIENT.chat.completions.create(messages=talk, **FEW).choices[0].message.content


def tool_call() -> None:
    message = CLIENT.chat.completions.parse(**CALLING).choices[0].message
    for call in message.tool_calls or []:
        Weather.model_validate_json(call.function.arguments)
    assert message.tool_calls


def tool_stream() -> None:
    with CLIENT.chat.completions.stream(**CALLING) as events:
        parts = [each for each in events if each.type == "tool_calls.function.arguments.delta"]
        final = events.get_final_completion()
    calls = final.choices[0].message.tool_calls or []
    first = "".join(each.arguments_delta for each in parts if each.index == 0)
    assert calls and json.loads(first) == json.loads(calls[0].function.arguments)
    assert len(parts) > 1


def tool_result() -> None:
    message = CLIENT.chat.completions.create(**CALLING).choices[0].message
    results = [
        {"role": "tool", "tool_call_id": call.id, "content": [{"type": "text", "text": "sunny"}]}
        for call in message.tool_calls or []
    ]
    talk = [*TALK, message, *results]
    answer = CLIENT.chat.completions.create(messages=talk, tools=[TOOL], **FEW)
    assert answer.choices[0].message.content


def structured() -> None:
    answer = CLIENT.chat.completions.parse(
        model=MODEL, messages=TALK, tools=[TOOL], tool_choice="none", response_format=Weather
    )
    assert isinstance(answer.choices[0].message.parsed, Weather)


report(by_name(text, stream, second_turn, tool_call, tool_stream, tool_result, structured))
