"""OpenAI's Responses API: chat completions whose conversation the server remembers.

Each response is stored as an exchange: the record of a request to a language model and its answers.
The next request can continue it by its id.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from moli.records.errors import NotFoundError
from moli.records.exchanges import Choice, Exchange
from moli.records.generation import FinishReason
from moli.records.messages import Message, ToolCall
from moli.serving.events import describe_failure, server_sent_event
from moli.serving.generation import ActiveGeneration, ChoiceDelta, Usage
from moli.serving.generation_service import GenerationService
from moli.serving.headers import HEADERS
from moli.serving.response_bodies import ResponseRequest, messages_to_items, tool_object
from moli.workspace import Workspace

router = APIRouter()

_PREFIX = "resp_"
ResponseId = Annotated[str, Path(max_length=64)]


@router.post("/v1/responses")
async def create(body: ResponseRequest, request: Request) -> Any:
    """Respond to an input, continuing an earlier response if the request names one."""
    service: GenerationService = request.app.state.generation_service
    history: list[Message] = []
    previous = (body.previous_response_id or "").removeprefix(_PREFIX)
    if body.previous_response_id:
        earlier = await run_in_threadpool(_find_exchange, request, body.previous_response_id)
        answer = earlier.choices[0]
        history = [*_input_messages(earlier), Message("assistant", answer.text, answer.calls)]
    generation_request = body.to_generation_request(history, previous)
    generation = await service.start(generation_request, request.state.caller)
    if body.stream:
        events = _events(generation)
        return StreamingResponse(events, media_type="text/event-stream", headers=HEADERS)
    await generation.collect(request.is_disconnected)
    choice = generation.choices()[0]
    output = _output_items(generation.id, choice)
    response = _response_object(generation, output, choice.reason, generation.usage())
    return JSONResponse(response, headers=HEADERS)


@router.get("/v1/responses/{response_id}")
def retrieve(response_id: ResponseId, request: Request) -> dict[str, Any]:
    """Return an earlier response."""
    exchange = _find_exchange(request, response_id)
    choice = exchange.choices[0]
    usage = Usage(exchange.prompt_tokens, choice.tokens, exchange.cached_tokens)
    return _response_object(exchange, _output_items(exchange.id, choice), choice.reason, usage)


@router.get("/v1/responses/{response_id}/input_items")
def input_items(response_id: ResponseId, request: Request) -> dict[str, Any]:
    """Return the input of a response."""
    items = messages_to_items(_input_messages(_find_exchange(request, response_id)))
    ends = {"first_id": items[0].get("id"), "last_id": items[-1].get("id")} if items else {}
    return {"object": "list", "data": items, "has_more": False, **ends}


@router.delete("/v1/responses/{response_id}")
def delete(response_id: ResponseId, request: Request) -> dict[str, Any]:
    """Remove a response and its input."""
    workspace: Workspace = request.app.state.workspace
    workspace.exchanges.remove(_find_exchange(request, response_id).id)
    return {"id": response_id, "object": "response", "deleted": True}


def _find_exchange(request: Request, response_id: str) -> Exchange:
    """The exchange of a response.

    Raises:
        NotFoundError: there is none, it is another tenant's, or was not to be stored.
    """
    workspace: Workspace = request.app.state.workspace
    unknown = NotFoundError(f"no response '{response_id}'", fix="Copy the id that it came with.")
    if not response_id.startswith(_PREFIX):
        raise unknown
    try:
        tenant = request.state.caller.tenant
        exchange = workspace.exchanges.get_shown(response_id.removeprefix(_PREFIX), tenant)
    except NotFoundError:
        raise unknown from None
    if exchange.kind != "chat" or not exchange.sampling.get("store", True):
        raise unknown
    return exchange


def _input_messages(exchange: Exchange) -> tuple[Message, ...]:
    """Messages of an exchange without its instructions, which apply to that exchange alone."""
    return exchange.messages[1:] if exchange.sampling.get("instructions") else exchange.messages


# Objects

_DEFAULTS = {
    "object": "response",
    "error": None,
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "top_p": 1.0,
    "truncation": "disabled",
}


def _response_object(
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
    return {
        **_DEFAULTS,
        **{name: value for name, value in options.items() if value is not None},
        "id": f"{_PREFIX}{source.id}",
        "created_at": int(source.created_at),
        "model": source.model,
        "previous_response_id": f"{_PREFIX}{previous}" if previous else None,
        "tools": [tool_object(each) for each in tools],
        "output": list(output),
        "usage": _usage_object(usage) if usage else None,
        **_status_fields(reason),
    }


def _status_fields(reason: FinishReason | str) -> dict[str, Any]:
    """The fields `status` and `incomplete_details`; a reason of "" means in progress."""
    statuses = {"": "in_progress", "length": "incomplete", "failed": "failed"}
    details = {"reason": "max_output_tokens"} if reason == "length" else None
    return {"status": statuses.get(reason, "completed"), "incomplete_details": details}


def _usage_object(usage: Usage) -> dict[str, Any]:
    """The numbers of tokens in the shape of the Responses API."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


def _output_items(exchange_id: str, choice: Choice) -> list[dict[str, Any]]:
    """The output items of an answer: a message unless there are only calls, and the calls."""
    has_message = choice.text or not choice.calls
    message = [_message_item(_message_id(exchange_id, 0), choice.text)] if has_message else []
    return message + [_call_item(each) for each in choice.calls]


def _message_id(exchange_id: str, index: int) -> str:
    """The id of a message that is the output item with this index."""
    return f"msg_{exchange_id}_{index}"


def _message_item(item_id: str, text: str | None) -> dict[str, Any]:
    """A complete message, or with None for its text one that begins."""
    return {
        "id": item_id,
        "type": "message",
        "role": "assistant",
        "status": "in_progress" if text is None else "completed",
        "content": [] if text is None else [_text_part(text)],
    }


def _text_part(text: str) -> dict[str, Any]:
    """A text as a part of a message's content."""
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _call_item(call: ToolCall, *, in_progress: bool = False) -> dict[str, Any]:
    """A tool call; one in progress has no arguments yet."""
    return {
        "id": f"fc_{call.id.removeprefix('call_')}",
        "type": "function_call",
        "call_id": call.id,
        "name": call.name,
        "arguments": "" if in_progress else call.arguments,
        "status": "in_progress" if in_progress else "completed",
    }


# Events


async def _events(generation: ActiveGeneration) -> AsyncIterator[str]:
    """Events with their names and sequence numbers; the last one has the whole response."""
    builder = _EventBuilder(generation.id)
    begun = _response_object(generation, [], "")
    yield builder.event("response.created", response=begun)
    yield builder.event("response.in_progress", response=begun)
    reason: FinishReason | str = ""
    try:
        async for delta in generation.stream():
            for event in builder.delta_events(delta):
                yield event
            reason = delta.reason
    except Exception as error:  # noqa: BLE001 - logged, and reported to the client
        response = _response_object(generation, builder.output, "failed", generation.usage())
        response["error"] = {"code": "server_error", "message": describe_failure(error).message}
        yield builder.event("response.failed", response=response)
        return
    last = "response.incomplete" if reason == "length" else "response.completed"
    response = _response_object(generation, builder.output, reason, generation.usage())
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

    def event(self, kind: str, **fields: Any) -> str:
        """The next event, with its sequence number."""
        data = {"type": kind, "sequence_number": self._sequence_number, **fields}
        self._sequence_number += 1
        return server_sent_event(data, kind)

    def delta_events(self, delta: ChoiceDelta) -> Iterator[str]:
        """Events for a new part of the answer."""
        if delta.text:
            yield from self._text_events(delta.text)
        if delta.calls:
            yield from self._message_end_events()
        for call in delta.calls:
            yield from self._call_events(call)
        if delta.reason:
            if self._text is None and not self.output:  # an empty answer
                yield from self._text_events("")
            yield from self._message_end_events()

    def _next_message_id(self) -> str:
        """The id of a message that is the next output item."""
        return _message_id(self._exchange_id, len(self.output))

    def _part_location(self) -> dict[str, Any]:
        """Fields that say what part of what item an event is about."""
        index = len(self.output)
        return {"item_id": self._next_message_id(), "output_index": index, "content_index": 0}

    def _text_events(self, text: str) -> Iterator[str]:
        """Events for more text of the message, which begins here if none is in progress."""
        if self._text is None:
            self._text = ""
            message = _message_item(self._next_message_id(), None)
            index = len(self.output)
            yield self.event("response.output_item.added", output_index=index, item=message)
            location = self._part_location()
            yield self.event("response.content_part.added", **location, part=_text_part(""))
        if text:
            self._text += text
            location = self._part_location()
            yield self.event("response.output_text.delta", **location, delta=text, logprobs=[])

    def _message_end_events(self) -> Iterator[str]:
        """Events that complete the message; none if no message is in progress."""
        if (text := self._text) is None:
            return
        location = self._part_location()
        yield self.event("response.output_text.done", **location, text=text, logprobs=[])
        yield self.event("response.content_part.done", **location, part=_text_part(text))
        yield self._complete_item(_message_item(self._next_message_id(), text))
        self._text = None

    def _call_events(self, call: ToolCall) -> Iterator[str]:
        """Events for a tool call, from its beginning to its end."""
        item, index = _call_item(call, in_progress=True), len(self.output)
        location = {"item_id": item["id"], "output_index": index}
        arguments = call.arguments
        yield self.event("response.output_item.added", output_index=index, item=item)
        yield self.event("response.function_call_arguments.delta", **location, delta=arguments)
        yield self.event(
            "response.function_call_arguments.done", **location, name=call.name, arguments=arguments
        )
        yield self._complete_item(_call_item(call))

    def _complete_item(self, item: dict[str, Any]) -> str:
        """Add a complete item to the output, and make the event for it."""
        event = self.event("response.output_item.done", output_index=len(self.output), item=item)
        self.output.append(item)
        return event
