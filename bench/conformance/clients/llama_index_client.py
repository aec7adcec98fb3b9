"""LlamaIndex's OpenAILike."""

from typing import Any, Literal

from cases import CITIES, MODEL, QUESTION, URL, by_name, report
from llama_index.core.llms import ChatMessage
from llama_index.core.tools import FunctionTool
from llama_index.llms.openai_like import OpenAILike
from pydantic import BaseModel

LLM = OpenAILike(
    model=MODEL,
    api_base=URL,
    api_key="none",
    is_chat_model=True,
    is_function_calling_model=True,
    max_retries=0,
    max_tokens=60,
)
TALK = [ChatMessage(role="user", content=QUESTION)]


class Weather(BaseModel):
    """The weather of a city."""

    city: Literal["Torino", "上海"]


def weather(city: Literal["Torino", "上海"]) -> str:
    """Tell the weather."""
    return f"sunny in {city}"


TOOL = FunctionTool.from_defaults(weather)
CALLING: Any = {"user_msg": QUESTION, "tool_required": True}


def text() -> None:
    assert LLM.chat(TALK).message.content
    completing = OpenAILike(model=MODEL, api_base=URL, api_key="none", is_chat_model=False)
    assert completing.complete("It was a dark").text


def stream() -> None:
    assert len([part.delta for part in LLM.stream_chat(TALK) if part.delta]) > 1


def second_turn() -> None:
    talk = [*TALK, LLM.chat(TALK).message, ChatMessage(role="user", content="And then?")]
    assert LLM.chat(talk).message.content


def tool_call() -> None:
    response = LLM.chat_with_tools([TOOL], **CALLING)
    calls = LLM.get_tool_calls_from_response(response)
    assert calls and all(call.tool_kwargs["city"] in CITIES for call in calls)


def tool_stream() -> None:
    parts = list(LLM.stream_chat_with_tools([TOOL], **CALLING))
    calls = LLM.get_tool_calls_from_response(parts[-1])
    assert calls and calls[0].tool_kwargs["city"] in CITIES


def tool_result() -> None:
    response = LLM.chat_with_tools([TOOL], **CALLING)
    results = [
        ChatMessage(role="tool", content="sunny", additional_kwargs={"tool_call_id": call.tool_id})
        for call in LLM.get_tool_calls_from_response(response)
    ]
    assert LLM.chat([*TALK, response.message, *results]).message.content is not None


def structured() -> None:
    result = LLM.as_structured_llm(Weather).chat(TALK).raw
    assert isinstance(result, Weather)


report(by_name(text, stream, second_turn, tool_call, tool_stream, tool_result, structured))
