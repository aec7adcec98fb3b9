"""The objects of OpenAI's Responses API: responses and their items."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from moli.records.exchanges import Choice, Exchange
from moli.records.generation import FinishReason
from moli.records.messages import Message, Tool, ToolCall
from moli.serving.generation import ActiveGeneration, Usage
from moli.serving.token_logprobs import PlacedToken, chat_logprobs

RESPONSE_PREFIX = "resp_"
_ITEM_ID = re.compile(r"(?:msg|fc|fco)_([0-9a-f]{32})_(i?)([0-9]{1,6})")

# Sampling parameters that a model recommends, and which are no fields of a response.
_BEYOND_OPENAI = {"top_k", "min_p", "repetition_penalty"}
_DEFAULTS: dict[str, Any] = {
    "object": "response",
    "background": False,
    "error": None,
    "frequency_penalty": 0.0,
    "instructions": None,
    "max_output_tokens": None,
    "max_tool_calls": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "presence_penalty": 0.0,
    "prompt_cache_key": None,
    "safety_identifier": None,
    "service_tier": "default",
    "store": True,
    "temperature": 1.0,
    "tool_choice": "auto",
    "top_logprobs": 0,
    "top_p": 1.0,
    "truncation": "disabled",
    "user": None,
}


def response_object(
    source: ActiveGeneration | Exchange,
    output: Sequence[Any],
    reason: FinishReason | str,
    usage: Usage | None = None,
) -> dict[str, Any]:
    """A response, whether it is in progress (then `reason` is "") or complete, new or stored."""
    if isinstance(source, Exchange):
        options, previous, tools = source.sampling, source.previous, source.tools
    else:
        request = source.request
        options, previous, tools = request.options, request.previous, request.tools
    status = {"": "in_progress", "length": "incomplete", "failed": "failed"}.get(
        reason, "completed"
    )
    completed_at = int(source.created_at + source.timings_ms.get("last", 0.0) / 1000)
    return {
        **_DEFAULTS,
        **{
            name: value
            for name, value in options.items()
            if value is not None and name not in _BEYOND_OPENAI
        },
        "text": _text_object(options.get("text") or {}),
        "reasoning": {"effort": None, "summary": None, **(options.get("reasoning") or {})},
        "id": f"{RESPONSE_PREFIX}{source.id}",
        "created_at": int(source.created_at),
        "completed_at": completed_at if status == "completed" else None,
        "model": source.model,
        "previous_response_id": f"{RESPONSE_PREFIX}{previous}" if previous else None,
        "tools": list(map(_tool_object, tools)),
        "output": list(output),
        "usage": _usage_object(usage) if usage else None,
        "status": status,
        "incomplete_details": {"reason": "max_output_tokens"} if reason == "length" else None,
    }


def _text_object(text: dict[str, Any]) -> dict[str, Any]:
    """The options for the text of an answer, with all fields of its format."""
    answer_format = text.get("format") or {"type": "text"}
    if answer_format.get("type") == "json_schema":
        answer_format = {"name": "answer", "description": None, "strict": False, **answer_format}
    return {**text, "format": answer_format}


def _tool_object(tool: Tool) -> dict[str, Any]:
    """A tool in the shape of a request's `tools`."""
    return {
        "type": "function",
        "name": tool.name,
        "description": tool.description,
        "parameters": dict(tool.parameters),
        "strict": tool.strict,
    }


def _usage_object(usage: Usage) -> dict[str, Any]:
    """The numbers of tokens in the shape of the Responses API."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


# Items


def output_items(
    exchange_id: str, choice: Choice, tokens: Sequence[PlacedToken] = ()
) -> list[dict[str, Any]]:
    """The output items of an answer: a message unless there are only calls, and the calls.

    Args:
        tokens: the tokens of the answer with their log probabilities, if these were requested.
    """
    items = []
    if choice.text or not choice.calls:
        own = [each for each in tokens if not choice.calls or each.offset < len(choice.text)]
        is_last = not choice.calls
        status = item_status(choice.reason if is_last else "stop")
        items = [message_item(output_id(exchange_id, "msg", 0), choice.text, status, own)]
    for number, call in enumerate(choice.calls):
        is_last = number == len(choice.calls) - 1
        item_id = output_id(exchange_id, "fc", len(items))
        status = call_status(call, choice.reason if is_last else "stop")
        items.append(call_item(item_id, call, status))
    return items


def input_items(exchange: Exchange) -> list[dict[str, Any]]:
    """The input of a response as items, without its instructions."""
    items: list[dict[str, Any]] = []

    def add(kind: str, prefix: str, **fields: Any) -> None:
        """Add an item, with an id made of its place."""
        item_id = f"{prefix}_{exchange.id}_i{len(items)}"
        items.append({"id": item_id, "type": kind, "status": "completed", **fields})

    for message in input_messages(exchange):
        if message.role == "tool":
            add("function_call_output", "fco", call_id=message.call_id, output=message.content)
            continue
        if message.content or not message.calls:
            part: dict[str, Any] = {"type": "input_text", "text": message.content}
            if message.role == "assistant":
                part = text_part(message.content)
            add("message", "msg", role=message.role, content=[part])
        for call in message.calls:
            add("function_call", "fc", call_id=call.id, name=call.name, arguments=call.arguments)
    return items


def input_messages(exchange: Exchange) -> tuple[Message, ...]:
    """Messages of an exchange without its instructions, which apply to that exchange alone."""
    return exchange.messages[1:] if exchange.sampling.get("instructions") else exchange.messages


def output_id(exchange_id: str, prefix: str, index: int) -> str:
    """The id of the output item with this index."""
    return f"{prefix}_{exchange_id}_{index}"


def exchange_id_of(item_id: str) -> str:
    """The id of the exchange that an item belongs to; "" if no item has such an id."""
    match = _ITEM_ID.fullmatch(item_id)
    return match[1] if match else ""


def find_item(exchange: Exchange, item_id: str) -> dict[str, Any] | None:
    """The item of an exchange with this id; None if there is none."""
    items = [*output_items(exchange.id, exchange.choices[0]), *input_items(exchange)]
    return next((each for each in items if each["id"] == item_id), None)


def item_status(reason: FinishReason | str) -> str:
    """The status of the last item of an answer; a reason of "" means that it goes on."""
    return {"": "in_progress", "length": "incomplete", "failed": "incomplete"}.get(
        reason, "completed"
    )


def call_status(call: ToolCall, reason: FinishReason | str) -> str:
    """The status of a call, which may be complete although the answer was cut after it."""
    status = item_status(reason)
    if status == "incomplete":
        try:
            json.loads(call.arguments)
        except (ValueError, RecursionError):
            return status
        return "completed"
    return status


def message_item(
    item_id: str, text: str | None, status: str, tokens: Sequence[PlacedToken] = ()
) -> dict[str, Any]:
    """A message; one that begins has None for its text, and no content."""
    return {
        "id": item_id,
        "type": "message",
        "role": "assistant",
        "status": status,
        "content": [] if text is None else [text_part(text, tokens)],
    }


def text_part(text: str, tokens: Sequence[PlacedToken] = ()) -> dict[str, Any]:
    """A text as a part of a message's content."""
    logprobs = chat_logprobs(tokens)
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": logprobs}


def call_item(item_id: str, call: ToolCall, status: str) -> dict[str, Any]:
    """A tool call, with its arguments as far as they are written."""
    return {
        "id": item_id,
        "type": "function_call",
        "call_id": call.id,
        "name": call.name,
        "arguments": call.arguments,
        "status": status,
    }
