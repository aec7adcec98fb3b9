"""OpenAI's Responses: chat completions whose conversation the server remembers."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from moli.records.errors import NotFoundError
from moli.records.exchanges import Choice, Exchange
from moli.records.generation import FinishReason
from moli.records.messages import Message, Tool, ToolCall
from moli.serving.answering import Answering
from moli.serving.asked import Asked, Piece
from moli.serving.completions import event, failure
from moli.serving.headers import HEADERS
from moli.serving.response_bodies import ResponseRequest, items_of, tool_of
from moli.workspace import Workspace

router = APIRouter()

_PREFIX = "resp_"
ResponseId = Annotated[str, Path(max_length=64)]


@router.post("/v1/responses")
async def create(body: ResponseRequest, request: Request) -> Any:
    """Respond to an input, continuing an earlier response if the request names one."""
    answering: Answering = request.app.state.answering
    before: list[Message] = []
    previous = (body.previous_response_id or "").removeprefix(_PREFIX)
    if body.previous_response_id:
        earlier = await run_in_threadpool(_exchange, request, body.previous_response_id)
        before = [*_said(earlier), _answered(earlier.choices[0])]
    asked = await answering.begin(body.wanted(before, previous), request.state.caller)
    if body.stream:
        return StreamingResponse(_events(asked), media_type="text/event-stream", headers=HEADERS)
    await asked.all(request.is_disconnected)
    choice = asked.choices()[0]
    output = _output(asked.id, choice)
    return JSONResponse(_response(asked, output, choice.reason), headers=HEADERS)


@router.get("/v1/responses/{response_id}")
def retrieve(response_id: ResponseId, request: Request) -> dict[str, Any]:
    """Return an earlier response."""
    return _object(_exchange(request, response_id))


@router.get("/v1/responses/{response_id}/input_items")
def input_items(response_id: ResponseId, request: Request) -> dict[str, Any]:
    """Return the input of a response."""
    items = items_of(_said(_exchange(request, response_id)))
    ends = {"first_id": items[0].get("id"), "last_id": items[-1].get("id")} if items else {}
    return {"object": "list", "data": items, "has_more": False, **ends}


@router.delete("/v1/responses/{response_id}")
def delete(response_id: ResponseId, request: Request) -> dict[str, Any]:
    """Remove a response and its input."""
    workspace: Workspace = request.app.state.workspace
    workspace.exchanges.remove(_exchange(request, response_id).id)
    return {"id": response_id, "object": "response", "deleted": True}


def _exchange(request: Request, response_id: str) -> Exchange:
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
        found = workspace.exchanges.shown(response_id.removeprefix(_PREFIX), tenant)
    except NotFoundError:
        raise unknown from None
    if found.kind != "chat" or not found.sampling.get("store", True):
        raise unknown
    return found


def _said(exchange: Exchange) -> tuple[Message, ...]:
    """The turns of an exchange without its instructions, which apply to that one alone."""
    return exchange.messages[1:] if exchange.sampling.get("instructions") else exchange.messages


def _answered(choice: Choice) -> Message:
    return Message("assistant", choice.text, choice.calls)


# Objects


def _response(asked: Asked, output: Sequence[Any], reason: FinishReason | str) -> dict[str, Any]:
    """A response under way (without a reason) or complete."""
    wanted = asked.wanted
    usage = _usage(*asked.usage()) if reason else None
    return _whole(asked, wanted.told, wanted.previous, wanted.tools) | {
        "output": list(output),
        "usage": usage,
        **_state(reason),
    }


def _object(exchange: Exchange) -> dict[str, Any]:
    """A response that was stored."""
    choice = exchange.choices[0]
    usage = _usage(exchange.prompt_tokens, choice.tokens, exchange.cached_tokens)
    return _whole(exchange, exchange.sampling, exchange.previous, exchange.tools) | {
        "output": _output(exchange.id, choice),
        "usage": usage,
        **_state(choice.reason),
    }


def _whole(
    of: Asked | Exchange, told: Mapping[str, Any], previous: str, tools: Sequence[Tool]
) -> dict[str, Any]:
    """What was known about a response when it was asked for."""
    return _settings(told) | {
        "id": f"{_PREFIX}{of.id}",
        "created_at": int(of.created_at),
        "model": of.model,
        "previous_response_id": f"{_PREFIX}{previous}" if previous else None,
        "tools": [tool_of(each) for each in tools],
    }


def _settings(told: Mapping[str, Any]) -> dict[str, Any]:
    """What a request said, with defaults for what it left out."""
    return {
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
        **{name: value for name, value in told.items() if value is not None},
    }


def _state(reason: FinishReason | str) -> dict[str, Any]:
    known = {"": "in_progress", "length": "incomplete", "failed": "failed"}
    status = known.get(reason, "completed")
    cut = {"reason": "max_output_tokens"} if reason == "length" else None
    return {"status": status, "incomplete_details": cut}


def _usage(prompt: int, written: int, cached: int) -> dict[str, Any]:
    return {
        "input_tokens": prompt,
        "input_tokens_details": {"cached_tokens": cached},
        "output_tokens": written,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": prompt + written,
    }


def _output(of: str, choice: Choice) -> list[dict[str, Any]]:
    items = [_message(f"msg_{of}_0", choice.text)] if choice.text or not choice.calls else []
    return items + [_called(each) for each in choice.calls]


def _message(name: str, text: str | None) -> dict[str, Any]:
    """A message; one that is just beginning has no text."""
    content = [] if text is None else [_part(text)]
    status = "in_progress" if text is None else "completed"
    told = {"id": name, "type": "message", "role": "assistant"}
    return {**told, "status": status, "content": content}


def _part(text: str) -> dict[str, Any]:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}


def _called(call: ToolCall, *, begins: bool = False) -> dict[str, Any]:
    return {
        "id": f"fc_{call.id.removeprefix('call_')}",
        "type": "function_call",
        "call_id": call.id,
        "name": call.name,
        "arguments": "" if begins else call.arguments,
        "status": "in_progress" if begins else "completed",
    }


# Events


async def _events(asked: Asked) -> AsyncIterator[str]:
    """Events with their names and numbers; the last has the whole response."""
    story = _Story(asked.id)
    yield story.tell("response.created", response=_response(asked, [], ""))
    yield story.tell("response.in_progress", response=_response(asked, [], ""))
    reason: FinishReason | str = ""
    try:
        async for piece in asked.pieces():
            for each in story.of(piece):
                yield each
            reason = piece.reason
    except Exception as error:  # noqa: BLE001 - logged, and told to the client
        told = {"code": "server_error", "message": failure(error)[0]}
        failed = _response(asked, story.output, "failed") | {"error": told}
        yield story.tell("response.failed", response=failed)
        return
    last = "response.incomplete" if reason == "length" else "response.completed"
    yield story.tell(last, response=_response(asked, story.output, reason))


class _Story:
    """The events of one response.

    Args:
        of: the response's id.

    Attributes:
        output: items that are complete.
    """

    def __init__(self, of: str) -> None:
        self.output: list[dict[str, Any]] = []
        self._of, self._number = of, 0
        self._text: str | None = None  # of the message under way

    @property
    def _name(self) -> str:
        """The id for a message that is the next item."""
        return f"msg_{self._of}_{len(self.output)}"

    def tell(self, kind: str, **facts: Any) -> str:
        """The next event."""
        told = event({"type": kind, "sequence_number": self._number, **facts}, kind)
        self._number += 1
        return told

    def of(self, piece: Piece) -> Iterator[str]:
        """The events that a piece adds."""
        if piece.text:
            yield from self._more(piece.text)
        if piece.calls:
            yield from self._end_message()
        for call in piece.calls:
            yield from self._call(call)
        if piece.reason:
            if self._text is None and not self.output:  # an empty answer
                yield from self._more("")
            yield from self._end_message()

    def _place(self) -> dict[str, Any]:
        return {"item_id": self._name, "output_index": len(self.output), "content_index": 0}

    def _more(self, text: str) -> Iterator[str]:
        if self._text is None:
            self._text = ""
            added = {"output_index": len(self.output), "item": _message(self._name, None)}
            yield self.tell("response.output_item.added", **added)
            yield self.tell("response.content_part.added", **self._place(), part=_part(""))
        if text:
            self._text += text
            yield self.tell("response.output_text.delta", **self._place(), delta=text, logprobs=[])

    def _end_message(self) -> Iterator[str]:
        if (text := self._text) is None:
            return
        yield self.tell("response.output_text.done", **self._place(), text=text, logprobs=[])
        yield self.tell("response.content_part.done", **self._place(), part=_part(text))
        yield from self._done(_message(self._name, text))
        self._text = None

    def _call(self, call: ToolCall) -> Iterator[str]:
        begun, index = _called(call, begins=True), len(self.output)
        place = {"item_id": begun["id"], "output_index": index}
        arguments = call.arguments
        yield self.tell("response.output_item.added", output_index=index, item=begun)
        yield self.tell("response.function_call_arguments.delta", **place, delta=arguments)
        yield self.tell(
            "response.function_call_arguments.done", **place, name=call.name, arguments=arguments
        )
        yield from self._done(_called(call))

    def _done(self, item: dict[str, Any]) -> Iterator[str]:
        yield self.tell("response.output_item.done", output_index=len(self.output), item=item)
        self.output.append(item)
