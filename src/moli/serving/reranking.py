"""Documents in the order of how well they answer a query, in the shape that Cohere's, Jina's and
vLLM's clients share.

What is not done here is refused, never ignored.
"""

from __future__ import annotations

import uuid
from typing import Annotated, Any

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BeforeValidator, Field

from moli.serving.bodies import Body, Name, Text
from moli.serving.encoders import Encoders
from moli.serving.headers import HEADERS

router = APIRouter()

Said = Annotated[Text, Field(min_length=1)]


class Document(Body):
    """A text to score."""

    text: Said


def _as_document(value: Any) -> Any:
    return {"text": value} if isinstance(value, str) else value


class RerankRequest(Body):
    """A query, and documents that may answer it."""

    model: Name = ""
    query: Said
    documents: Annotated[
        list[Annotated[Document, BeforeValidator(_as_document)]],
        Field(min_length=1, max_length=1000, description="Each may be a plain text"),
    ]
    top_n: Annotated[int, Field(ge=1)] | None = None
    return_documents: bool = False


@router.post("/v1/rerank")
def rerank(body: RerankRequest, request: Request) -> JSONResponse:
    """Rank documents, best first; equals stay in the order they came in."""
    encoders: Encoders = request.app.state.encoders
    judged = encoders.judge(body.model, body.query, [each.text for each in body.documents])
    best = np.argsort(-judged.scores, kind="stable")[: body.top_n].tolist()
    whole = {
        "id": f"rerank-{uuid.uuid4().hex}",
        "model": judged.model,
        "results": [_result(body, index, float(judged.scores[index])) for index in best],
        "usage": {"total_tokens": judged.tokens},
    }
    return JSONResponse(whole, headers=HEADERS)


def _result(body: RerankRequest, index: int, score: float) -> dict[str, Any]:
    told: dict[str, Any] = {"index": index, "relevance_score": score}
    if body.return_documents:
        told["document"] = {"text": body.documents[index].text}
    return told
