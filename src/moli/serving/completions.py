"""OpenAI's chat completions and completions, as its clients expect them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, StreamingResponse

from moli.models.templates.tool_call_parser import ToolCallDelta, join_tool_calls
from moli.records.messages import ToolCall
from moli.serving.completion_bodies import ChatRequest, CompletionBody, CompletionRequest
from moli.serving.events import report_failure, server_sent_event
from moli.serving.generation import ActiveGeneration, ChoiceDelta, GenerationRequest
from moli.serving.generation_service import GenerationService
from moli.serving.headers import HEADERS
from moli.serving.json_body import JsonRoute
from moli.serving.token_logprobs import PlacedToken, chat_logprobs, text_logprobs

router = APIRouter(route_class=JsonRoute)


@dataclass(frozen=True, slots=True)
class _ObjectNames:
    """Names in the objects of one of the two APIs.

    Attributes:
        whole: the `object` of a complete answer.
        chunk: the `object` of an event of a stream.
        id_prefix: added to the id of the exchange.
    """

    whole: str
    chunk: str
    id_prefix: str


_CHAT = _ObjectNames("chat.completion", "chat.completion.chunk", "chatcmpl-")
_TEXT = _ObjectNames("text_completion", "text_completion", "cmpl-")


@router.post("/v1/chat/completions")
async def chat_completions(body: ChatRequest, request: Request) -> Any:
    """Answer a conversation."""
    return await _respond(body, body.to_generation_request(), request, _CHAT)


@router.post("/v1/completions")
async def completions(body: CompletionRequest, request: Request) -> Any:
    """Continue a text."""
    return await _respond(body, body.to_generation_request(), request, _TEXT)


async def _respond(
    body: CompletionBody,
    generation_request: GenerationRequest,
    request: Request,
    names: _ObjectNames,
) -> Any:
    """Generate, and return the answers as one object or as a stream."""
    service: GenerationService = request.app.state.generation_service
    generation = await service.start(generation_request, request.state.caller)
    request.state.request_id = generation.id
    head = {
        "id": f"{names.id_prefix}{generation.id}",
        "created": int(generation.created_at),
        "model": generation.model,
    }
    if body.stream:
        events = report_failure(_events(body, generation, head, names))
        return StreamingResponse(events, media_type="text/event-stream", headers=HEADERS)
    deltas = await generation.collect(request.is_disconnected)
    choices = [_choice_object(generation, index, each, names) for index, each in enumerate(deltas)]
    usage = _usage_object(generation)
    whole = {**head, "object": names.whole, "choices": choices, "usage": usage}
    return JSONResponse(whole, headers=HEADERS)


async def _events(
    body: CompletionBody, generation: ActiveGeneration, head: dict[str, Any], names: _ObjectNames
) -> AsyncIterator[str]:
    """The server-sent events of a stream, the last of which is [DONE].

    Args:
        head: fields that all events have.
    """
    head = {**head, "object": names.chunk}
    no_usage = {"usage": None} if body.streams_usage else {}
    calls_sent: dict[int, int] = {}  # by the index of the answer
    async for delta in generation.stream():
        if delta.index in calls_sent and delta.is_empty:
            continue
        choice = _chunk_choice(generation, delta, names, calls_sent)
        yield server_sent_event({**head, "choices": [choice], **no_usage})
    if body.streams_usage:
        yield server_sent_event({**head, "choices": [], "usage": _usage_object(generation)})
    yield "data: [DONE]\n\n"


def _choice_object(
    generation: ActiveGeneration, index: int, deltas: Sequence[ChoiceDelta], names: _ObjectNames
) -> dict[str, Any]:
    """A complete answer as an element of `choices`, from its deltas."""
    text = "".join(each.text for each in deltas)
    tokens = [token for each in deltas for token in each.tokens]
    calls = join_tool_calls(call for each in deltas for call in each.calls)
    choice = {"index": index, "finish_reason": _finish_reason(deltas[-1], has_calls=bool(calls))}
    if names is _TEXT:
        return {**choice, **_continued_text(generation, index, text, tokens, is_first=True)}
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    if calls:
        objects = list(map(_tool_call_object, calls))
        message |= {"content": text or None, "tool_calls": objects}
    return {**choice, "message": message, "logprobs": _chat_logprobs(tokens)}


def _chunk_choice(
    generation: ActiveGeneration,
    delta: ChoiceDelta,
    names: _ObjectNames,
    calls_sent: dict[int, int],
) -> dict[str, Any]:
    """A new part of an answer as an element of an event's `choices`.

    Args:
        calls_sent: number of tool calls sent so far, by the index of the answer; updated.
    """
    is_first = delta.index not in calls_sent
    before = calls_sent.get(delta.index, 0)
    calls_sent[delta.index] = max([before, *(call.index + 1 for call in delta.calls)])
    reason = _finish_reason(delta, has_calls=calls_sent[delta.index] > 0)
    choice = {"index": delta.index, "finish_reason": reason}
    text, tokens = delta.text, delta.tokens
    if names is _TEXT:
        continued = _continued_text(generation, delta.index, text, tokens, is_first=is_first)
        return {**choice, **continued}
    message: dict[str, Any] = {"role": "assistant"} if is_first else {}
    if text or (is_first and not delta.calls):
        message["content"] = text
    if delta.calls:
        message["tool_calls"] = list(_call_chunks(delta.calls, before))
    return {**choice, "delta": message, "logprobs": _chat_logprobs(tokens)}


def _continued_text(
    generation: ActiveGeneration,
    index: int,
    text: str,
    tokens: Sequence[PlacedToken],
    *,
    is_first: bool,
) -> dict[str, Any]:
    """The fields `text` and `logprobs` of a completion, or of a part of one.

    Args:
        is_first: whether it begins the answer, which begins with its prompt if that was requested.
    """
    request = generation.request
    if request.echo and is_first:
        text = generation.prompt_text(index) + text
        if request.sampling.logprobs is not None:
            tokens = [*generation.prompt_tokens(index), *tokens]
    return {"text": text, "logprobs": text_logprobs(tokens) if tokens else None}


def _chat_logprobs(tokens: Sequence[PlacedToken]) -> dict[str, Any] | None:
    """Log probabilities as chat completions have them; None if none were requested."""
    return {"content": chat_logprobs(tokens), "refusal": None} if tokens else None


def _call_chunks(calls: Sequence[ToolCallDelta], sent: int) -> Iterator[dict[str, Any]]:
    """New parts of tool calls as elements of a chunk's `tool_calls`.

    Args:
        sent: number of calls that were sent before; their ids and names are not repeated.
    """
    for call in calls:
        if call.index < sent:
            yield {"index": call.index, "function": {"arguments": call.arguments}}
        else:
            whole = ToolCall(call.id, call.name, call.arguments)
            yield {"index": call.index, **_tool_call_object(whole)}
            sent = call.index + 1


def _tool_call_object(call: ToolCall) -> dict[str, Any]:
    """A tool call in OpenAI's shape."""
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def _finish_reason(delta: ChoiceDelta, *, has_calls: bool) -> str | None:
    """OpenAI's `finish_reason`; None if the answer goes on.

    Args:
        has_calls: whether the answer has tool calls.
    """
    if not delta.reason:
        return None
    if has_calls and delta.reason == "stop":
        return "tool_calls"
    return "stop" if delta.reason == "cancelled" else str(delta.reason)


def _usage_object(generation: ActiveGeneration) -> dict[str, Any]:
    """The numbers of tokens in OpenAI's shape."""
    usage = generation.usage()
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }
