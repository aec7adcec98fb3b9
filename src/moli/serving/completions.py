"""OpenAI's chat completions and completions, as its clients speak them."""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, StreamingResponse

from moli.records.errors import MoliError
from moli.records.generation import Delta
from moli.records.messages import ToolCall
from moli.serving.answering import Answering
from moli.serving.asked import Asked, Piece, Wanted
from moli.serving.bodies import ChatRequest, CompletionRequest, Generation
from moli.serving.headers import HEADERS

router = APIRouter()
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class _Kind:
    """How the two kinds of completions are written."""

    whole: str
    part: str
    prefix: str


_CHAT = _Kind("chat.completion", "chat.completion.chunk", "chatcmpl-")
_TEXT = _Kind("text_completion", "text_completion", "cmpl-")


@router.post("/v1/chat/completions")
async def chat_completions(body: ChatRequest, request: Request) -> Any:
    """Answer a conversation."""
    return await _respond(body, body.wanted(), request, _CHAT)


@router.post("/v1/completions")
async def completions(body: CompletionRequest, request: Request) -> Any:
    """Continue a text."""
    return await _respond(body, body.wanted(), request, _TEXT)


async def _respond(body: Generation, wanted: Wanted, request: Request, kind: _Kind) -> Any:
    answering: Answering = request.app.state.answering
    asked = await answering.begin(wanted, request.state.caller)
    head = {
        "id": f"{kind.prefix}{asked.id}",
        "created": int(asked.created_at),
        "model": asked.model,
    }
    if body.stream:
        events = told_in_stream(_events(body, asked, head, kind))
        return StreamingResponse(events, media_type="text/event-stream", headers=HEADERS)
    told = await asked.all(request.is_disconnected)
    choices = [_choice(asked, number, each, kind) for number, each in enumerate(told)]
    whole = {**head, "object": kind.whole, "choices": choices, "usage": _usage(asked)}
    return JSONResponse(whole, headers=HEADERS)


async def _events(
    body: Generation, asked: Asked, head: dict[str, Any], kind: _Kind
) -> AsyncIterator[str]:
    """Server-sent events, the last of which is [DONE]."""
    head = {**head, "object": kind.part}
    calls: dict[int, int] = {}  # how many were sent, by the number of their answer
    async for piece in asked.pieces():
        choice = _part(asked, piece, kind, calls)
        yield event({**head, "choices": [choice], **_no_usage(body)})
    if body.usage_streamed:
        yield event({**head, "choices": [], "usage": _usage(asked)})
    yield "data: [DONE]\n\n"


def event(value: Any, name: str = "") -> str:
    """A server-sent event."""
    named = f"event: {name}\n" if name else ""
    return f"{named}data: {json.dumps(value, ensure_ascii=False)}\n\n"


async def told_in_stream(events: AsyncIterator[str]) -> AsyncIterator[str]:
    """Events, with a failure as one of them, since the status has long been sent."""
    try:
        async for each in events:
            yield each
    except Exception as error:  # noqa: BLE001 - logged, and told to the client
        message, code = failure(error)
        told = {"message": message, "type": "api_error", "param": None, "code": code}
        yield event({"error": told})


def failure(error: Exception) -> tuple[str, str]:
    """What a client is told of a failure midway, and its code; the rest goes to the log."""
    if isinstance(error, MoliError):
        return str(error), error.code
    _log.error("a stream failed", exc_info=error)
    return "the server failed; its log says why", "internal_error"


def _no_usage(body: Generation) -> dict[str, None]:
    return {"usage": None} if body.usage_streamed else {}


def _choice(asked: Asked, number: int, pieces: Sequence[Piece], kind: _Kind) -> dict[str, Any]:
    """A whole answer."""
    text = "".join(each.text for each in pieces)
    calls = [_call(call) for each in pieces for call in each.calls]
    told = {"index": number, "finish_reason": _reason(pieces[-1], bool(calls))}
    if kind is _TEXT:
        return {**told, "text": text, "logprobs": _text_logprobs(asked, pieces)}
    message: dict[str, Any] = {"role": "assistant", "content": text, "refusal": None}
    if calls:
        message |= {"content": text or None, "tool_calls": calls}
    return {**told, "message": message, "logprobs": _logprobs(asked, pieces)}


def _part(asked: Asked, piece: Piece, kind: _Kind, calls: dict[int, int]) -> dict[str, Any]:
    """What an event says of one answer."""
    first = piece.number not in calls
    known = calls.get(piece.number, 0)
    calls[piece.number] = known + len(piece.calls)
    told = {"index": piece.number, "finish_reason": _reason(piece, calls[piece.number] > 0)}
    if kind is _TEXT:
        return {**told, "text": piece.text, "logprobs": _text_logprobs(asked, [piece])}
    delta: dict[str, Any] = {"role": "assistant"} if first else {}
    if piece.text or (first and not piece.calls):
        delta["content"] = piece.text
    if piece.calls:
        delta["tool_calls"] = [
            {"index": known + n, **_call(each)} for n, each in enumerate(piece.calls)
        ]
    return {**told, "delta": delta, "logprobs": _logprobs(asked, [piece])}


def _call(call: ToolCall) -> dict[str, Any]:
    function = {"name": call.name, "arguments": call.arguments}
    return {"id": call.id, "type": "function", "function": function}


def _reason(piece: Piece, called: bool) -> str | None:
    if not piece.reason:
        return None
    if called and piece.reason == "stop":
        return "tool_calls"
    return "stop" if piece.reason == "cancelled" else str(piece.reason)


def _usage(asked: Asked) -> dict[str, Any]:
    prompt, written, cached = asked.usage()
    return {
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "total_tokens": prompt + written,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def _logprobs(asked: Asked, pieces: Sequence[Piece]) -> dict[str, Any] | None:
    rows = [row for each in pieces for row in _token_rows(each.delta)]
    if not rows:
        return None
    content = []
    for token, logprob, others in rows:
        top = [asked.token(each.id) | {"logprob": each.logprob} for each in others]
        content.append(asked.token(token) | {"logprob": logprob, "top_logprobs": top})
    return {"content": content, "refusal": None}


def _text_logprobs(asked: Asked, pieces: Sequence[Piece]) -> dict[str, Any] | None:
    rows = [row for each in pieces for row in _token_rows(each.delta)]
    if not rows:
        return None
    tokens = [asked.token(token)["token"] for token, _, _ in rows]
    offsets = [0, *accumulate(map(len, tokens[:-1]))]
    return {
        "tokens": tokens,
        "token_logprobs": [logprob for _, logprob, _ in rows],
        "top_logprobs": [
            {asked.token(each.id)["token"]: each.logprob for each in others}
            for _, _, others in rows
        ],
        "text_offset": offsets,
    }


def _token_rows(delta: Delta) -> list[tuple[int, float, Any]]:
    return list(zip(delta.ids, delta.logprobs, delta.alternatives, strict=False))
