"""OpenAI's embeddings API.

The shapes follow the public API reference; fields that are not supported are refused, not ignored.
"""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from moli.models.protocols.encoder import Role
from moli.records.errors import InputError
from moli.serving.bodies import Body, ShortText, StorableText
from moli.serving.concurrency import WorkQueue
from moli.serving.encoders import Encoders, unit_vectors
from moli.serving.headers import HEADERS
from moli.serving.json_body import JsonRoute

router = APIRouter(route_class=JsonRoute)

# By the names that NVIDIA's, Voyage's, Jina's and Cohere's clients send beside OpenAI's own fields.
_ROLES: dict[str | None, Role] = {
    None: "text",
    "query": "query",
    "passage": "passage",
    "document": "passage",
    "search_query": "query",
    "search_document": "passage",
}


def to_list(value: Any) -> Any:
    """Put a single text into a list, and refuse token ids."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list):
        raise ValueError("must be a text or a list of texts")
    if value and isinstance(value[0], int | list) and not isinstance(value[0], bool):
        raise ValueError("token ids are not accepted, as each model has its own; send the texts")
    return value


class EmbeddingsRequest(Body):
    """Texts to make vectors of."""

    ignored = frozenset({"user"})
    model: ShortText = ""
    input: Annotated[
        list[Annotated[StorableText, Field(min_length=1)]],
        Field(
            min_length=1, max_length=2048, description="A single text may be given without a list"
        ),
        BeforeValidator(to_list),
    ]
    encoding_format: Literal["float", "base64"] = "float"
    input_type: Annotated[
        Literal["query", "passage", "document", "search_query", "search_document"] | None,
        Field(description="What the texts are; it decides the encoder's prompt, none by default"),
    ] = None
    dimensions: Annotated[int, Field(ge=1)] | None = None
    user: ShortText | None = None


@router.post("/v1/embeddings")
async def embeddings(body: EmbeddingsRequest, request: Request) -> JSONResponse:
    """Make vectors of texts."""
    state = request.app.state
    encoders: Encoders = state.encoders
    queue: WorkQueue = state.encoder_queue
    role = _ROLES[body.input_type]
    encoded = await queue.run_steps(request, encoders.encode(body.model, body.input, role))
    vectors = _truncate_vectors(encoded.vectors, body.dimensions)
    values = _encode_base64(vectors) if body.encoding_format == "base64" else vectors.tolist()
    whole = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": value}
            for index, value in enumerate(values)
        ],
        "model": encoded.model,
        "usage": {"prompt_tokens": encoded.tokens, "total_tokens": encoded.tokens},
    }
    return JSONResponse(whole, headers=HEADERS)


def _truncate_vectors(vectors: NDArray[np.float32], dimensions: int | None) -> NDArray[np.float32]:
    """Unit vectors of the first dimensions (Matryoshka: Kusupati et al. 2022), None for all.

    Raises:
        InputError: the vectors have fewer dimensions.
    """
    available = vectors.shape[1]
    if dimensions in (None, available):
        return vectors
    if dimensions > available:
        raise InputError(
            f"the model has {available} dimensions, but {dimensions} were asked for",
            where="dimensions",
            fix="Ask for fewer, or leave it out.",
        )
    return unit_vectors(vectors[:, :dimensions])


def _encode_base64(vectors: NDArray[np.float32]) -> list[str]:
    """Vectors as base64 of little-endian float32."""
    return [base64.b64encode(each.tobytes()).decode() for each in vectors.astype("<f4")]
