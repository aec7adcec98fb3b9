"""OpenAI's Responses API: chat completions whose conversation the server remembers.

Each response is stored as an exchange: the record of a request to a language model and its answers.
The next request can continue it by its id.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from fastapi.responses import JSONResponse, StreamingResponse
from pydantic import TypeAdapter
from starlette.concurrency import run_in_threadpool

from moli.records.errors import InputError, NotFoundError
from moli.records.exchanges import Exchange
from moli.records.messages import Message
from moli.serving.bodies import ShortText
from moli.serving.generation import Usage
from moli.serving.generation_service import GenerationService
from moli.serving.headers import HEADERS
from moli.serving.json_body import JsonRoute
from moli.serving.response_bodies import Item, ItemReference, ResponseRequest
from moli.serving.response_events import response_events
from moli.serving.response_objects import (
    RESPONSE_PREFIX,
    exchange_id_of,
    find_item,
    input_items,
    input_messages,
    output_items,
    response_object,
)
from moli.workspace import Workspace

router = APIRouter(route_class=JsonRoute)

_ITEM: TypeAdapter[Item] = TypeAdapter(Item)
ResponseId = Annotated[str, Path(max_length=64)]


@router.post("/v1/responses")
async def create(body: ResponseRequest, request: Request) -> Any:
    """Respond to an input, continuing an earlier response if the request names one."""
    service: GenerationService = request.app.state.generation_service
    history: list[Message] = []
    previous = (body.previous_response_id or "").removeprefix(RESPONSE_PREFIX)
    if body.previous_response_id:
        earlier = await run_in_threadpool(
            _find_exchange, request, body.previous_response_id, "previous_response_id"
        )
        answer = earlier.choices[0]
        history = [*input_messages(earlier), Message("assistant", answer.text, answer.calls)]
    items = await run_in_threadpool(_resolve_references, request, body.input)
    generation_request = body.to_generation_request(items, history, previous)
    generation = await service.start(generation_request, request.state.caller)
    request.state.request_id = generation.id
    if body.stream:
        events = response_events(generation)
        return StreamingResponse(events, media_type="text/event-stream", headers=HEADERS)
    [deltas] = await generation.collect(request.is_disconnected)
    choice = generation.choices()[0]
    tokens = [token for each in deltas for token in each.tokens]
    output = output_items(generation.id, choice, tokens)
    response = response_object(generation, output, choice.reason, generation.usage())
    return JSONResponse(response, headers=HEADERS)


@router.get("/v1/responses/{response_id}")
def retrieve(response_id: ResponseId, request: Request) -> dict[str, Any]:
    """Return an earlier response."""
    exchange = _find_exchange(request, response_id)
    choice = exchange.choices[0]
    usage = Usage(exchange.prompt_tokens, choice.tokens, exchange.cached_tokens)
    return response_object(exchange, output_items(exchange.id, choice), choice.reason, usage)


@router.get("/v1/responses/{response_id}/input_items")
def list_input_items(
    response_id: ResponseId,
    request: Request,
    limit: Annotated[int, Query(ge=1, le=100)] = 20,
    order: Literal["asc", "desc"] = "desc",
    after: ShortText = "",
) -> dict[str, Any]:
    """Return the input of a response, the last item first unless `order` is "asc"."""
    items = input_items(_find_exchange(request, response_id))
    if order == "desc":
        items.reverse()
    if after:
        ids = [each["id"] for each in items]
        if after not in ids:
            raise InputError(f"no item '{after}'", where="after", fix="Use the last_id of a list.")
        items = items[ids.index(after) + 1 :]
    page = items[:limit]
    return {
        "object": "list",
        "data": page,
        "first_id": page[0]["id"] if page else None,
        "last_id": page[-1]["id"] if page else None,
        "has_more": len(items) > limit,
    }


@router.delete("/v1/responses/{response_id}")
def delete(response_id: ResponseId, request: Request) -> dict[str, Any]:
    """Remove a response and its input."""
    workspace: Workspace = request.app.state.workspace
    workspace.exchanges.remove(_find_exchange(request, response_id).id)
    return {"id": response_id, "object": "response", "deleted": True}


def _find_exchange(request: Request, response_id: str, where: str = "") -> Exchange:
    """The exchange of a response.

    Args:
        where: the field of the request that names it, for the error.

    Raises:
        NotFoundError: there is none, it is another tenant's, or was not to be stored.
    """
    workspace: Workspace = request.app.state.workspace
    unknown = NotFoundError(f"no response '{response_id}'", where, "Copy the id that it came with.")
    if not response_id.startswith(RESPONSE_PREFIX):
        raise unknown
    try:
        tenant = request.state.caller.tenant
        exchange = workspace.exchanges.get_shown(response_id.removeprefix(RESPONSE_PREFIX), tenant)
    except NotFoundError:
        raise unknown from None
    if exchange.kind != "response" or not exchange.sampling.get("store", True):
        raise unknown
    return exchange


def _resolve_references(
    request: Request, items: str | Sequence[Item | ItemReference]
) -> str | list[Item]:
    """The input with the items that it refers to.

    Raises:
        NotFoundError: there is no such item.
    """
    if isinstance(items, str):
        return items
    resolved: list[Item] = []
    for number, item in enumerate(items):
        if not isinstance(item, ItemReference):
            resolved.append(item)
            continue
        stored_item = _find_item(request, item.id)
        if stored_item is None:
            raise NotFoundError(
                f"no item '{item.id}'",
                where=f"input[{number}].id",
                fix="Copy the id that it came with, of a response that was stored.",
            )
        resolved.append(_ITEM.validate_python(stored_item))
    return resolved


def _find_item(request: Request, item_id: str) -> dict[str, Any] | None:
    """The item of a stored response with this id; None if there is none."""
    try:
        exchange = _find_exchange(request, f"{RESPONSE_PREFIX}{exchange_id_of(item_id)}")
    except NotFoundError:
        return None
    return find_item(exchange, item_id)
