"""Reranking: documents sorted by how well they answer a query.

The shapes are those that Cohere's, Jina's and vLLM's clients share; fields that are not supported
are refused, not ignored.
"""

from __future__ import annotations

import uuid
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BeforeValidator, ConfigDict, Field

from moli.serving.bodies import Body, ShortText, StorableText
from moli.serving.concurrency import WorkQueue
from moli.serving.encoders import Encoders
from moli.serving.headers import HEADERS
from moli.serving.json_body import JsonRoute

router = APIRouter(route_class=JsonRoute)

NonEmptyText = Annotated[StorableText, Field(min_length=1)]


class RerankDocument(Body):
    """A text to score."""

    model_config = ConfigDict(title="Document")

    text: NonEmptyText


def _to_document(value: Any) -> Any:
    """A document given as a plain text, in the form of an object."""
    if not isinstance(value, str | dict):
        raise ValueError("must be a text or an object with a text")
    return {"text": value} if isinstance(value, str) else value


class RerankRequest(Body):
    """A query, and documents that may answer it."""

    model: ShortText = ""
    query: NonEmptyText
    documents: Annotated[
        list[Annotated[RerankDocument, BeforeValidator(_to_document)]],
        Field(min_length=1, max_length=1000, description="Each may be a plain text"),
    ]
    top_n: Annotated[int, Field(ge=1)] | None = None
    return_documents: bool = False


@router.post("/v1/rerank")
async def rerank(body: RerankRequest, request: Request) -> JSONResponse:
    """Rank documents, best first; equals stay in the order they came in."""
    state = request.app.state
    encoders: Encoders = state.encoders
    queue: WorkQueue = state.encoder_queue
    texts = [each.text for each in body.documents]
    scored = await queue.run_steps(request, encoders.score(body.model, body.query, texts))
    best = np.argsort(-scored.scores, kind="stable")[: body.top_n].tolist()
    whole = {
        "id": f"rerank-{uuid.uuid4().hex}",
        "model": scored.model,
        "results": [_result_object(body, index, float(scored.scores[index])) for index in best],
        "usage": {"total_tokens": scored.tokens},
    }
    return JSONResponse(whole, headers=HEADERS)


def _result_object(body: RerankRequest, index: int, score: float) -> dict[str, Any]:
    """A document's index and score, and its text if the request asks for it."""
    result: dict[str, Any] = {"index": index, "relevance_score": score}
    if body.return_documents:
        result["document"] = {"text": body.documents[index].text}
    return result
