"""A model that calls a function of yours, over the API.

    pip install openai
    python examples/tools.py

The request demands a call of `weather`, and the server sees to it that its arguments follow the
schema, whatever the model: `builtin:starter`, which runs here, has never seen a tool. A model that
was tuned for tools chooses by itself when `tool_choice` is left out.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from openai import OpenAI
from serve import MODEL, running_server

import moli

WEATHER = {"Oslo": "rain, 4 °C", "Rome": "sun, 19 °C", "Cairo": "sun, 31 °C"}
TOOL: Any = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Tells the weather of a city.",
        "parameters": {
            "type": "object",
            "properties": {"city": {"enum": list(WEATHER)}},
            "required": ["city"],
            "additionalProperties": False,
        },
    },
}


def weather(city: str) -> str:
    """The function that the model may call; it is run here, never by the server."""
    return WEATHER[city]


def main() -> None:
    """Ask, do what the model calls for, and give the result back."""
    parser = argparse.ArgumentParser(description="Let a model call a function.")
    parser.add_argument("--folder", type=Path, default=Path("tools"))
    folder = parser.parse_args().folder
    moli.init(folder).close()
    with running_server(folder) as address:
        client = OpenAI(base_url=f"{address}/v1", api_key="none")
        messages: list[Any] = [{"role": "user", "content": "Is it raining in Oslo?"}]
        first = client.chat.completions.create(
            model=MODEL,
            messages=messages,
            tools=[TOOL],
            tool_choice={"type": "function", "function": {"name": "weather"}},
            parallel_tool_calls=False,
            temperature=0,
        )
        message = first.choices[0].message
        messages.append(message.model_dump(exclude_none=True))
        for call in message.tool_calls or []:
            result = weather(**json.loads(call.function.arguments))
            print(f"call {call.function.name}({call.function.arguments}) -> {result}")
            messages.append({"role": "tool", "tool_call_id": call.id, "content": result})
        last = client.chat.completions.create(
            model=MODEL, messages=messages, temperature=0, max_tokens=24
        )
        # The starter has read old story books only, and will not make much of the weather.
        print("answer:", last.choices[0].message.content)


if __name__ == "__main__":
    main()
