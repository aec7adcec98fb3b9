"""LangChain's ChatOpenAI."""

from __future__ import annotations

from typing import Any, Literal

from cases import CITIES, MODEL, QUESTION, URL, by_name, report
from langchain_core.messages import AIMessage, HumanMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI
from pydantic import BaseModel


class Weather(BaseModel):
    """The weather of a city."""

    city: Literal["Torino", "上海"]


@tool
def weather(city: Literal["Torino", "上海"]) -> str:
    """Tell the weather."""
    return f"sunny in {city}"


def cases(**options: Any) -> dict[str, Any]:  # long: one function for each case
    chat = ChatOpenAI(
        model=MODEL, base_url=URL, api_key="none", max_retries=0, max_tokens=60, **options
    )
    forced = chat.bind_tools([weather], tool_choice="weather")

    def text() -> None:
        answer = chat.invoke(QUESTION)
        assert answer.text and answer.usage_metadata

    def stream() -> None:
        assert len([part for part in chat.stream(QUESTION) if part.text]) > 1

    def second_turn() -> None:
        first = chat.invoke(QUESTION)
        assert chat.invoke([HumanMessage(QUESTION), first, HumanMessage("And then?")]).text

    def tool_call() -> None:
        [call] = forced.invoke(QUESTION).tool_calls
        assert call["args"]["city"] in CITIES

    def tool_stream() -> None:
        whole: Any = None
        for part in forced.stream(QUESTION):
            whole = part if whole is None else whole + part
        [call] = whole.tool_calls
        assert call["args"]["city"] in CITIES

    def tool_result() -> None:
        message = forced.invoke(QUESTION)
        assert isinstance(message, AIMessage)
        results = [ToolMessage("sunny", tool_call_id=call["id"]) for call in message.tool_calls]
        talk = [HumanMessage(QUESTION), message, *results]
        assert chat.bind_tools([weather]).invoke(talk) is not None

    def structured() -> None:
        for method in ("json_schema", "function_calling"):
            model = chat.with_structured_output(Weather, method=method)
            assert isinstance(model.invoke(QUESTION), Weather)

    return by_name(text, stream, second_turn, tool_call, tool_stream, tool_result, structured)


report(cases())
responses = cases(use_responses_api=True, include=["message.output_text.logprobs"])
report({f"{name} (responses)": case for name, case in responses.items()})
