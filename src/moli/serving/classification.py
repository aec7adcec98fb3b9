"""Classification of texts with a classifier that was trained here."""

from __future__ import annotations

import uuid
from typing import Annotated

from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from pydantic import BeforeValidator, Field

from moli.serving.bodies import Body, ShortText, StorableText
from moli.serving.concurrency import WorkQueue
from moli.serving.embeddings import to_list
from moli.serving.encoders import Encoders
from moli.serving.headers import HEADERS
from moli.serving.json_body import JsonRoute

router = APIRouter(route_class=JsonRoute)


class ClassifyRequest(Body):
    """Texts to classify."""

    model: Annotated[ShortText, Field(min_length=1)]
    input: Annotated[
        list[Annotated[StorableText, Field(min_length=1)]],
        Field(
            min_length=1, max_length=1000, description="A single text may be given without a list"
        ),
        BeforeValidator(to_list),
    ]
    top_k: Annotated[int, Field(ge=1, description="Number of labels to return")] = 5


@router.post("/v1/classify")
async def classify(body: ClassifyRequest, request: Request) -> JSONResponse:
    """Give each text its label, and the probabilities of the likeliest ones."""
    state = request.app.state
    encoders: Encoders = state.encoders
    queue: WorkQueue = state.encoder_queue
    steps = encoders.classify(body.model, body.input, body.top_k)
    classified = await queue.run_steps(request, steps)
    whole = {
        "id": f"classify-{uuid.uuid4().hex}",
        "object": "list",
        "model": body.model,
        "data": [
            {"object": "classification", "index": index, **row}
            for index, row in enumerate(classified.rows)
        ],
        "usage": {"prompt_tokens": classified.tokens, "total_tokens": classified.tokens},
    }
    return JSONResponse(whole, headers=HEADERS)
