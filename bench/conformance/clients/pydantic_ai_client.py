"""pydantic-ai: its agents with OpenAI's chat and responses models."""

from __future__ import annotations

from typing import Any, Literal

from cases import MODEL, QUESTION, URL, by_name, report
from pydantic import BaseModel
from pydantic_ai import Agent, ModelRequest, ModelResponse, NativeOutput, ToolCallPart
from pydantic_ai.messages import ToolReturnPart, UserPromptPart
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.openai import OpenAIProvider


class Weather(BaseModel):
    """The weather of a city."""

    city: Literal["Torino", "上海"]


def cases(kind: Any) -> dict[str, Any]:  # long: one function for each case
    model = kind(MODEL, provider=OpenAIProvider(base_url=URL, api_key="none"))
    settings: Any = {"max_tokens": 60}

    def text() -> None:
        assert Agent(model).run_sync(QUESTION, model_settings=settings).output

    async def stream() -> None:
        async with Agent(model).run_stream(QUESTION, model_settings=settings) as result:
            assert [part async for part in result.stream_text(delta=True)]

    def second_turn() -> None:
        agent = Agent(model, instructions="Be brief.")
        first = agent.run_sync(QUESTION, model_settings=settings)
        assert agent.run_sync(
            "And then?", message_history=first.all_messages(), model_settings=settings
        ).output

    def tool_call() -> None:
        result = Agent(model, output_type=Weather).run_sync(QUESTION, model_settings=settings)
        assert isinstance(result.output, Weather)

    async def tool_stream() -> None:
        async with Agent(model, output_type=Weather).run_stream(QUESTION) as result:
            assert isinstance(await result.get_output(), Weather)

    def tool_result() -> None:
        agent = Agent(model)
        agent.tool_plain(weather)
        history: list[Any] = [
            ModelRequest(parts=[UserPromptPart(QUESTION)]),
            ModelResponse(parts=[ToolCallPart("weather", {"city": "Torino"}, "call_1")]),
            ModelRequest(parts=[ToolReturnPart("weather", "sunny", "call_1")]),
        ]
        agent.run_sync("So?", message_history=history, model_settings=settings)

    def structured() -> None:
        agent = Agent(model, output_type=NativeOutput(Weather))
        assert isinstance(agent.run_sync(QUESTION).output, Weather)

    return by_name(text, stream, second_turn, tool_call, tool_stream, tool_result, structured)


def weather(city: Literal["Torino", "上海"]) -> str:
    """Tell the weather."""
    return f"sunny in {city}"


report(cases(OpenAIChatModel))
report({f"{name} (responses)": case for name, case in cases(OpenAIResponsesModel).items()})
