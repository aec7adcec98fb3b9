"""The events of OpenAI's Responses API, which report a response while it grows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from typing import Any

from moli.models.templates.tool_call_parser import ToolCallDelta
from moli.records.generation import FinishReason
from moli.records.messages import ToolCall
from moli.serving.events import describe_failure, server_sent_event
from moli.serving.generation import ActiveGeneration, ChoiceDelta
from moli.serving.response_objects import (
    call_item,
    call_status,
    item_status,
    message_item,
    output_id,
    response_object,
    text_part,
)
from moli.serving.token_logprobs import PlacedToken, chat_logprobs


async def response_events(generation: ActiveGeneration) -> AsyncIterator[str]:
    """Events with their names and sequence numbers; the last one has the whole response."""
    builder = _EventBuilder(generation.id)
    begun = response_object(generation, [], "")
    yield builder.event("response.created", response=begun)
    yield builder.event("response.in_progress", response=begun)
    reason: FinishReason | str = ""
    try:
        async for delta in generation.stream():
            for event in builder.delta_events(delta):
                yield event
            reason = delta.reason
    except Exception as error:  # noqa: BLE001 - logged, and reported to the client
        for event in builder.end_events("failed"):
            yield event
        response = response_object(generation, builder.output, "failed", generation.usage())
        response["error"] = {"code": "server_error", "message": describe_failure(error).message}
        yield builder.event("response.failed", response=response)
        return
    last = "response.incomplete" if reason == "length" else "response.completed"
    response = response_object(generation, builder.output, reason, generation.usage())
    yield builder.event(last, response=response)


class _EventBuilder:
    """Builds the events of one response.

    Attributes:
        output: the output items that are complete.
    """

    def __init__(self, exchange_id: str) -> None:
        self.output: list[dict[str, Any]] = []
        self._exchange_id = exchange_id
        self._sequence_number = 0
        self._text: str | None = None  # of the message in progress; None if there is none
        self._tokens: list[PlacedToken] = []  # of that message
        self._reported_tokens = 0  # of these
        self._call: ToolCall | None = None  # in progress
        self._call_index = -1  # of the last call that has begun

    def event(self, kind: str, **fields: Any) -> str:
        """The next event, with its sequence number."""
        data = {"type": kind, "sequence_number": self._sequence_number, **fields}
        self._sequence_number += 1
        return server_sent_event(data, kind)

    def delta_events(self, delta: ChoiceDelta) -> Iterator[str]:
        """Events for a new part of the answer."""
        if not self._call and not delta.calls:
            self._tokens += delta.tokens
        if delta.text:
            yield from self._end_call("stop")
            yield from self._text_events(delta.text)
        for call in delta.calls:
            yield from self._call_events(call)
        if delta.reason:
            if self._text is None and not self._call and not self.output:  # an empty answer
                yield from self._text_events("")
            yield from self.end_events(delta.reason)

    def end_events(self, reason: FinishReason | str) -> Iterator[str]:
        """Events that complete the item in progress, if there is one."""
        yield from self._end_message(reason)
        yield from self._end_call(reason)

    # Messages

    def _part_location(self) -> dict[str, Any]:
        """Fields that say what part of what item an event is about."""
        index = len(self.output)
        item_id = output_id(self._exchange_id, "msg", index)
        return {"item_id": item_id, "output_index": index, "content_index": 0}

    def _text_events(self, text: str) -> Iterator[str]:
        """Events for more text of the message, which begins here if none is in progress."""
        location = self._part_location()
        if self._text is None:
            self._text = ""
            message = message_item(location["item_id"], None, "in_progress")
            index = location["output_index"]
            yield self.event("response.output_item.added", output_index=index, item=message)
            yield self.event("response.content_part.added", **location, part=text_part(""))
        if text:
            self._text += text
            logprobs = chat_logprobs(self._tokens[self._reported_tokens :])
            self._reported_tokens = len(self._tokens)
            yield self.event(
                "response.output_text.delta", **location, delta=text, logprobs=logprobs
            )

    def _end_message(self, reason: FinishReason | str) -> Iterator[str]:
        """Events that complete the message; none if no message is in progress."""
        if (text := self._text) is None:
            return
        location, tokens = self._part_location(), self._tokens
        logprobs = chat_logprobs(tokens)
        yield self.event("response.output_text.done", **location, text=text, logprobs=logprobs)
        part = text_part(text, tokens)
        yield self.event("response.content_part.done", **location, part=part)
        item_id = location["item_id"]
        yield self._end_item(message_item(item_id, text, item_status(reason), tokens))
        self._text, self._tokens, self._reported_tokens = None, [], 0

    # Calls

    def _call_events(self, delta: ToolCallDelta) -> Iterator[str]:
        """Events for more of a call, which begins here if it is a new one."""
        if delta.index > self._call_index:
            yield from self.end_events("stop")
            self._call, self._call_index = ToolCall(delta.id, delta.name, ""), delta.index
            index = len(self.output)
            item = call_item(self._call_location()["item_id"], self._call, "in_progress")
            yield self.event("response.output_item.added", output_index=index, item=item)
        if self._call and delta.arguments:
            arguments = self._call.arguments + delta.arguments
            self._call = ToolCall(delta.id, delta.name, arguments)
            location = self._call_location()
            yield self.event(
                "response.function_call_arguments.delta", **location, delta=delta.arguments
            )

    def _call_location(self) -> dict[str, Any]:
        """Fields that say what call an event is about."""
        index = len(self.output)
        return {"item_id": output_id(self._exchange_id, "fc", index), "output_index": index}

    def _end_call(self, reason: FinishReason | str) -> Iterator[str]:
        """Events that complete the call; none if no call is in progress."""
        if (call := self._call) is None:
            return
        location = self._call_location()
        yield self.event(
            "response.function_call_arguments.done",
            **location,
            name=call.name,
            arguments=call.arguments,
        )
        yield self._end_item(call_item(location["item_id"], call, call_status(call, reason)))
        self._call = None

    def _end_item(self, item: dict[str, Any]) -> str:
        """Add a complete item to the output, and make the event for it."""
        event = self.event("response.output_item.done", output_index=len(self.output), item=item)
        self.output.append(item)
        return event
