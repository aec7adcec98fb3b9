"""Open Responses: what its specification requires of a response and of a stream.

The fields are those of the schemas `ResponseResource` and of the streaming events at
openresponses.org, and the cases those of its acceptance tests that need no images.
"""

from __future__ import annotations

import json
from typing import Any

import httpx
from cases import MODEL, QUESTION, URL, report

REQUIRED = {
    "id", "object", "created_at", "completed_at", "status", "incomplete_details", "model",
    "previous_response_id", "instructions", "output", "error", "tools", "tool_choice", "truncation",
    "parallel_tool_calls", "text", "top_p", "presence_penalty", "frequency_penalty", "top_logprobs",
    "temperature", "reasoning", "user", "usage", "max_output_tokens", "max_tool_calls", "store",
    "background", "service_tier", "metadata", "safety_identifier", "prompt_cache_key",
}  # fmt: skip
ITEM_FIELDS = {
    "message": {"id", "status", "role", "content"},
    "function_call": {"id", "status", "call_id", "name", "arguments"},
    "function_call_output": {"id", "status", "call_id", "output"},
}
EVENT_FIELDS = {
    "response.output_item.added": {"output_index", "item"},
    "response.output_item.done": {"output_index", "item"},
    "response.content_part.added": {"item_id", "output_index", "content_index", "part"},
    "response.content_part.done": {"item_id", "output_index", "content_index", "part"},
    "response.output_text.delta": {"item_id", "output_index", "content_index", "delta"},
    "response.output_text.done": {"item_id", "output_index", "content_index", "text"},
    "response.function_call_arguments.delta": {"item_id", "output_index", "delta"},
    "response.function_call_arguments.done": {"item_id", "output_index", "arguments"},
}
SHORT = {
    "format": {
        "type": "json_schema",
        "name": "sea",
        "schema": {"type": "object", "properties": {"sea": {"enum": ["calm", "wild"]}}},
    }
}
TOOL = {
    "type": "function",
    "name": "weather",
    "description": "Tell the weather.",
    "parameters": {
        "type": "object",
        "properties": {"city": {"enum": ["Torino", "上海"]}},
        "required": ["city"],
    },
}
USER = {"type": "message", "role": "user", "content": QUESTION}


def post(**body: Any) -> Any:
    answer = httpx.post(f"{URL}/responses", json={"model": MODEL, **body}, timeout=300)
    assert answer.status_code == 200, answer.text
    return answer.json()


def check(response: Any, status: str = "completed") -> Any:
    assert not REQUIRED - response.keys(), REQUIRED - response.keys()
    assert response["status"] == status and response["output"]
    for item in response["output"]:
        missing = ITEM_FIELDS[item["type"]] - item.keys()
        assert not missing and item["status"] == status, missing
    return response


def events(**body: Any) -> list[Any]:
    """The events of a stream, each checked by itself, and the last one's response."""
    body = {"model": MODEL, "stream": True, **body}
    with httpx.stream("POST", f"{URL}/responses", json=body, timeout=300) as answer:
        assert answer.status_code == 200
        lines = [line for line in answer.iter_lines() if line.startswith("data: {")]
    received = [json.loads(line.removeprefix("data: ")) for line in lines]
    for number, event in enumerate(received):
        assert event["sequence_number"] == number
        if event["type"] in EVENT_FIELDS:
            assert not EVENT_FIELDS[event["type"]] - event.keys()
        else:
            assert not REQUIRED - event["response"].keys()
    kinds = [event["type"] for event in received]
    assert kinds[:2] == ["response.created", "response.in_progress"]
    check(received[-1]["response"])
    return received


def text() -> None:
    check(post(input=[USER], text=SHORT))
    check(post(input=QUESTION, max_output_tokens=1), "incomplete")


def system() -> None:
    check(
        post(
            input=[{"type": "message", "role": "system", "content": "Be brief."}, USER], text=SHORT
        )
    )


def stream() -> None:
    received = events(input=[USER], text=SHORT)
    deltas = [each["delta"] for each in received if each["type"] == "response.output_text.delta"]
    part = received[-1]["response"]["output"][0]["content"][0]
    assert part["text"] == "".join(deltas) and received[-1]["type"] == "response.completed"


def second_turn() -> None:
    said = {"type": "message", "role": "assistant", "content": "It is calm."}
    asked = {"type": "message", "role": "user", "content": "And then?"}
    check(post(input=[USER, said, asked], text=SHORT))
    first = post(input=[USER], text=SHORT)
    reference = {"type": "item_reference", "id": first["output"][0]["id"]}
    check(post(input=[USER, reference, asked], text=SHORT))
    check(post(input="And then?", previous_response_id=first["id"], text=SHORT))


def tool_call() -> None:
    [call] = check(
        post(input=[USER], tools=[TOOL], tool_choice={"type": "function", "name": "weather"})
    )["output"]
    assert json.loads(call["arguments"])["city"] in ("Torino", "上海")


def tool_stream() -> None:
    received = events(input=[USER], tools=[TOOL], tool_choice="required", parallel_tool_calls=False)
    parts = [
        each["delta"]
        for each in received
        if each["type"] == "response.function_call_arguments.delta"
    ]
    [call] = received[-1]["response"]["output"]
    assert len(parts) > 1 and "".join(parts) == call["arguments"]


def tool_result() -> None:
    call = {"type": "function_call", "call_id": "call_1", "name": "weather", "arguments": "{}"}
    result = {"type": "function_call_output", "call_id": "call_1", "output": "sunny"}
    check(post(input=[USER, call, result], tools=[TOOL], tool_choice="none", text=SHORT))


def logprobs() -> None:
    response = post(
        input=[USER], text=SHORT, include=["message.output_text.logprobs"], top_logprobs=2
    )
    [part] = response["output"][0]["content"]
    data = bytes(byte for token in part["logprobs"] for byte in token["bytes"])
    assert data.decode() == part["text"]
    assert all(len(token["top_logprobs"]) == 2 for token in part["logprobs"])


report(
    {
        "text": text,
        "system message": system,
        "stream": stream,
        "second turn": second_turn,
        "tool call": tool_call,
        "tool stream": tool_stream,
        "tool result": tool_result,
        "structured": logprobs,
    }
)
