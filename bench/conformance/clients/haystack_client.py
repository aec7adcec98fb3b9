"""Haystack's OpenAIChatGenerator."""

from __future__ import annotations

from typing import Any

from cases import CITIES, MODEL, QUESTION, URL, by_name, report
from haystack.components.generators.chat import OpenAIChatGenerator
from haystack.dataclasses import ChatMessage
from haystack.tools import Tool
from haystack.utils import Secret

SCHEMA: Any = {
    "type": "object",
    "properties": {"city": {"enum": list(CITIES)}},
    "required": ["city"],
    "additionalProperties": False,
}
WEATHER = Tool("weather", "Tell the weather.", SCHEMA, lambda city: f"sunny in {city}")
FORMAT = {
    "type": "json_schema",
    "json_schema": {"name": "weather", "strict": True, "schema": SCHEMA},
}
TALK = [ChatMessage.from_user(QUESTION)]


def answer(talk: list[ChatMessage], stream: Any = None, **options: Any) -> ChatMessage:
    generator = OpenAIChatGenerator(
        api_key=Secret.from_token("none"), model=MODEL, api_base_url=URL, max_retries=0
    )
    tools = options.pop("tools", None)
    options = {"max_completion_tokens": 60, **options}
    replies = generator.run(
        talk, streaming_callback=stream, generation_kwargs=options, tools=tools
    )["replies"]
    reply: ChatMessage = replies[0]
    return reply


def forced(stream: Any = None) -> ChatMessage:
    return answer(TALK, stream, tools=[WEATHER], tool_choice="required")


def text() -> None:
    assert answer(TALK).text


def stream() -> None:
    parts: list[Any] = []
    assert answer(TALK, parts.append).text and len(parts) > 1


def second_turn() -> None:
    assert answer([*TALK, answer(TALK), ChatMessage.from_user("And then?")]).text


def tool_call() -> None:
    calls = forced().tool_calls
    assert calls and calls[0].arguments["city"] in CITIES


def tool_stream() -> None:
    calls = forced(lambda _: None).tool_calls
    assert calls and calls[0].arguments["city"] in CITIES


def tool_result() -> None:
    message = forced()
    results = [ChatMessage.from_tool("sunny", origin=call) for call in message.tool_calls]
    answer([*TALK, message, *results], tools=[WEATHER])


def structured() -> None:
    assert '"city"' in (answer(TALK, response_format=FORMAT).text or "")


report(by_name(text, stream, second_turn, tool_call, tool_stream, tool_result, structured))
