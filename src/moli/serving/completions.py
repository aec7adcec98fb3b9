"""OpenAI's chat completions and completions, as its clients speak them.

The shapes follow the public API reference; what is not done here is refused, never ignored.
"""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import BaseModel, ConfigDict, Field

from moli.records.errors import InputError
from moli.records.generation import Delta, Form, Sampling
from moli.records.messages import Message
from moli.serving.answering import Answering, Asked
from moli.serving.headers import HEADERS

router = APIRouter()

Text = Annotated[str, Field(max_length=1 << 20)]


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid")


class TextPart(_Body):
    """A part of a message."""

    type: Literal["text"]
    text: Text


class ChatMessage(_Body):
    """A turn of a conversation."""

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Text | list[TextPart] | None = None
    name: Text | None = None

    def record(self) -> Message:
        """As the rooms below have it."""
        parts = self.content if isinstance(self.content, list) else []
        text = "".join(each.text for each in parts) if parts else str(self.content or "")
        return Message("system" if self.role == "developer" else self.role, text)


class JsonSchema(_Body):
    """A schema with a name."""

    name: Text = "answer"
    description: Text | None = None
    schema_: dict[str, Any] = Field(alias="schema")
    strict: bool | None = None


class ResponseFormat(_Body):
    """What an answer must look like."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    def form(self) -> Form | None:
        """As the engine has it.

        Raises:
            InputError: the schema is missing.
        """
        if self.type == "text":
            return None
        if self.type == "json_object":
            return Form(schema='{"type": "object"}')
        if self.json_schema is None:
            raise InputError(
                "response_format.json_schema is missing", fix="Give it a schema, or json_object."
            )
        return Form(schema=json.dumps(self.json_schema.schema_))


class StreamOptions(_Body):
    """What a stream tells besides."""

    include_usage: bool = False
    include_obfuscation: bool = False


class _Generation(_Body):
    """What both kinds of completions have."""

    model: Text = ""
    temperature: Annotated[float, Field(ge=0, le=2)] = 1.0
    top_p: Annotated[float, Field(gt=0, le=1)] = 1.0
    n: Annotated[int, Field(ge=1, le=16)] = 1
    stop: Text | Annotated[list[Text], Field(max_length=8)] | None = None
    seed: Annotated[int, Field(ge=-(1 << 63), lt=1 << 63)] | None = None
    presence_penalty: Annotated[float, Field(ge=-2, le=2)] = 0.0
    frequency_penalty: Annotated[float, Field(ge=-2, le=2)] = 0.0
    stream: bool = False
    stream_options: StreamOptions | None = None
    user: Text | None = None
    # Beyond OpenAI's, for `extra_body`.
    top_k: Annotated[int, Field(ge=0, le=1 << 20)] = 0
    min_p: Annotated[float, Field(ge=0, le=1)] = 0.0
    repetition_penalty: Annotated[float, Field(gt=0, le=10)] = 1.0
    regex: Text | None = None

    def sampling(self, most: int, logprobs: int | None, form: Form | None = None) -> Sampling:
        """As the engine has it."""
        stops = [self.stop] if isinstance(self.stop, str) else self.stop or []
        return Sampling(
            max_tokens=most,
            temperature=self.temperature,
            top_k=self.top_k,
            top_p=self.top_p,
            min_p=self.min_p,
            repetition_penalty=self.repetition_penalty,
            presence_penalty=self.presence_penalty,
            frequency_penalty=self.frequency_penalty,
            stop=tuple(stops),
            seed=None if self.seed is None else self.seed % (1 << 63),
            logprobs=logprobs,
            form=form or (Form(regex=self.regex) if self.regex else None),
        )

    @property
    def usage_streamed(self) -> bool:
        """Whether a stream ends with what was used."""
        return bool(self.stream_options and self.stream_options.include_usage)


class ChatRequest(_Generation):
    """A conversation to answer."""

    messages: Annotated[list[ChatMessage], Field(min_length=1, max_length=4096)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    max_completion_tokens: Annotated[int, Field(ge=1)] | None = None
    logprobs: bool = False
    top_logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    response_format: ResponseFormat | None = None
    # Of no consequence here.
    metadata: dict[str, str] | None = None
    store: bool | None = None


class CompletionRequest(_Generation):
    """A text to continue."""

    prompt: Text | Annotated[list[Text], Field(min_length=1, max_length=64)]
    max_tokens: Annotated[int, Field(ge=1)] = 16
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = None
    echo: Literal[False] = False
    best_of: Literal[1] | None = None


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
    answering: Answering = request.app.state.answering
    most = body.max_completion_tokens or body.max_tokens
    logprobs = (body.top_logprobs or 0) if body.logprobs else None
    form = body.response_format.form() if body.response_format else None
    asked = await answering.conversation(
        body.model, [each.record() for each in body.messages], most,
        lambda room: body.sampling(room, logprobs, form), body.n,
    )  # fmt: skip
    return await _respond(body, asked, request, _CHAT)


@router.post("/v1/completions")
async def completions(body: CompletionRequest, request: Request) -> Any:
    """Continue a text."""
    answering: Answering = request.app.state.answering
    prompts = [body.prompt] if isinstance(body.prompt, str) else body.prompt
    asked = await answering.texts(
        body.model, prompts, body.max_tokens,
        lambda room: body.sampling(room, body.logprobs), body.n,
    )  # fmt: skip
    return await _respond(body, asked, request, _TEXT)


async def _respond(body: _Generation, asked: Asked, request: Request, kind: _Kind) -> Any:
    head = {
        "id": f"{kind.prefix}{uuid.uuid4().hex}",
        "created": int(time.time()),
        "model": asked.model,
    }
    if body.stream:
        return StreamingResponse(
            _events(body, asked, head, kind), media_type="text/event-stream", headers=HEADERS
        )
    told = await asked.all(request.is_disconnected)
    choices = [_choice(asked, number, each, kind) for number, each in enumerate(told)]
    whole = {**head, "object": kind.whole, "choices": choices, "usage": _usage(asked)}
    return JSONResponse(whole, headers=HEADERS)


async def _events(
    body: _Generation, asked: Asked, head: dict[str, Any], kind: _Kind
) -> AsyncIterator[str]:
    """Server-sent events, the last of which is [DONE]. A failure is told as an event of its own."""
    head = {**head, "object": kind.part}
    begun: set[int] = set()
    async for number, delta in asked.deltas():
        if delta.reason == "failed":
            error = {"message": "the model failed to answer", "type": "api_error"}
            yield _event({"error": {**error, "param": None, "code": "model"}})
            return
        choice = _part(asked, number, delta, kind, first=number not in begun)
        begun.add(number)
        yield _event({**head, "choices": [choice], **_no_usage(body)})
    if body.usage_streamed:
        yield _event({**head, "choices": [], "usage": _usage(asked)})
    yield "data: [DONE]\n\n"


def _event(value: Any) -> str:
    return f"data: {json.dumps(value, ensure_ascii=False)}\n\n"


def _no_usage(body: _Generation) -> dict[str, None]:
    return {"usage": None} if body.usage_streamed else {}


def _choice(asked: Asked, number: int, deltas: Sequence[Delta], kind: _Kind) -> dict[str, Any]:
    """A whole answer."""
    text = "".join(each.text for each in deltas)
    told = {"index": number, "finish_reason": _reason(deltas[-1])}
    if kind is _TEXT:
        return {**told, "text": text, "logprobs": _text_logprobs(asked, deltas)}
    message = {"role": "assistant", "content": text, "refusal": None}
    return {**told, "message": message, "logprobs": _logprobs(asked, deltas)}


def _part(asked: Asked, number: int, delta: Delta, kind: _Kind, *, first: bool) -> dict[str, Any]:
    """What an event says of one answer."""
    told = {"index": number, "finish_reason": _reason(delta)}
    if kind is _TEXT:
        return {**told, "text": delta.text, "logprobs": _text_logprobs(asked, [delta])}
    content = {"role": "assistant"} if first else {}
    if delta.text or first:
        content["content"] = delta.text
    return {**told, "delta": content, "logprobs": _logprobs(asked, [delta])}


def _reason(delta: Delta) -> str | None:
    return {"": None, "cancelled": "stop"}.get(delta.reason, delta.reason)


def _usage(asked: Asked) -> dict[str, Any]:
    prompt, written, cached = asked.usage()
    return {
        "prompt_tokens": prompt,
        "completion_tokens": written,
        "total_tokens": prompt + written,
        "prompt_tokens_details": {"cached_tokens": cached},
    }


def _logprobs(asked: Asked, deltas: Sequence[Delta]) -> dict[str, Any] | None:
    rows = [row for each in deltas for row in _token_rows(each)]
    if not rows:
        return None
    content = []
    for token, logprob, others in rows:
        top = [asked.token(each.id) | {"logprob": each.logprob} for each in others]
        content.append(asked.token(token) | {"logprob": logprob, "top_logprobs": top})
    return {"content": content, "refusal": None}


def _text_logprobs(asked: Asked, deltas: Sequence[Delta]) -> dict[str, Any] | None:
    rows = [row for each in deltas for row in _token_rows(each)]
    if not rows:
        return None
    tokens = [asked.token(token)["token"] for token, _, _ in rows]
    offsets = [sum(map(len, tokens[:number])) for number in range(len(tokens))]
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
