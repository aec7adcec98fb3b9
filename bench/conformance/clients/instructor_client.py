"""instructor: structured answers in its modes, whole and in parts."""

from __future__ import annotations

from typing import Any, Literal

import instructor
from cases import MODEL, QUESTION, URL, report
from openai import OpenAI
from pydantic import BaseModel

TALK: Any = [{"role": "user", "content": QUESTION}]


class Weather(BaseModel):
    """The weather of a city."""

    city: Literal["Torino", "上海"]


def client(mode: instructor.Mode) -> Any:
    return instructor.from_openai(OpenAI(base_url=URL, api_key="none", max_retries=0), mode=mode)


def answer(mode: instructor.Mode) -> None:
    result = client(mode).chat.completions.create(
        model=MODEL, messages=TALK, response_model=Weather
    )
    assert isinstance(result, Weather)


def tool_stream() -> None:
    parts = list(
        client(instructor.Mode.TOOLS).chat.completions.create_partial(
            model=MODEL, messages=TALK, response_model=Weather
        )
    )
    assert parts[-1].city in ("Torino", "上海")


report(
    {
        "tool call": lambda: answer(instructor.Mode.TOOLS),
        "tool stream": tool_stream,
        "structured": lambda: answer(instructor.Mode.JSON_SCHEMA),
        "structured (tools, strict)": lambda: answer(instructor.Mode.TOOLS_STRICT),
    }
)
