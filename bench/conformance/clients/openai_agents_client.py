"""OpenAI's agents, by chat completions and by responses."""

from __future__ import annotations

from typing import Any, Literal

from agents import (
    Agent,
    ModelSettings,
    OpenAIChatCompletionsModel,
    OpenAIResponsesModel,
    Runner,
    function_tool,
    set_tracing_disabled,
)
from cases import MODEL, QUESTION, URL, report
from openai import AsyncOpenAI
from pydantic import BaseModel

set_tracing_disabled(True)
called: list[str] = []


class Weather(BaseModel):
    city: Literal["Torino", "上海"]


@function_tool
def weather(city: Literal["Torino", "上海"]) -> str:
    """Tell the weather."""
    called.append(city)
    return "sunny"


def agent(kind: Any, *, tools: Any = (), choice: Any = None) -> Any:
    """An agent whose answers follow a schema, since a response that is cut is an error to it."""
    client = AsyncOpenAI(base_url=URL, api_key="none", max_retries=0)
    return Agent(
        name="bear",
        instructions="Be brief.",
        model=kind(MODEL, client),
        tools=list(tools),
        output_type=Weather,
        model_settings=ModelSettings(max_tokens=400, tool_choice=choice, parallel_tool_calls=False),
    )


def cases(kind: Any) -> dict[str, Any]:
    async def text() -> None:
        assert (await Runner.run(agent(kind), QUESTION)).final_output

    async def stream() -> None:
        result = Runner.run_streamed(agent(kind), QUESTION)
        kinds = [event.type async for event in result.stream_events()]
        assert "raw_response_event" in kinds and result.final_output

    async def second_turn() -> None:
        first = await Runner.run(agent(kind), QUESTION)
        talk = [*first.to_input_list(), {"role": "user", "content": "And then?"}]
        assert (await Runner.run(agent(kind), talk)).final_output

    async def tool_result() -> None:
        called.clear()
        result = await Runner.run(agent(kind, tools=[weather], choice="required"), QUESTION)
        assert called and result.final_output is not None

    async def tool_stream() -> None:
        called.clear()
        result = Runner.run_streamed(agent(kind, tools=[weather], choice="weather"), QUESTION)
        kinds = [event.type async for event in result.stream_events()]
        assert called and "run_item_stream_event" in kinds

    async def structured() -> None:
        result = await Runner.run(agent(kind), QUESTION)
        assert isinstance(result.final_output, Weather)

    return {
        "text": text,
        "stream": stream,
        "second turn": second_turn,
        "tool call": tool_result,
        "tool stream": tool_stream,
        "tool result": tool_result,
        "structured": structured,
    }


report(cases(OpenAIChatCompletionsModel))
report({f"{name} (responses)": case for name, case in cases(OpenAIResponsesModel).items()})
