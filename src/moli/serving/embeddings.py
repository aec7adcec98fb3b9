"""OpenAI's embeddings, as its clients speak them.

The shapes follow the public API reference; what is not done here is refused, never ignored.
"""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import APIRouter, Request
from fastapi.responses import JSONResponse
from numpy.typing import NDArray
from pydantic import BeforeValidator, Field

from moli.records.errors import InputError
from moli.serving.bodies import Body, Name, Text
from moli.serving.encoders import Encoders, unit
from moli.serving.headers import HEADERS

router = APIRouter()


def _as_list(value: Any) -> Any:
    if isinstance(value, str):
        return [value]
    if isinstance(value, list) and value and isinstance(value[0], int | list):
        raise ValueError("token ids are not accepted, as each model has its own; send the texts")
    return value


class EmbeddingsRequest(Body):
    """Texts to make vectors of."""

    model: Name = ""
    input: Annotated[
        list[Annotated[Text, Field(min_length=1)]],
        Field(
            min_length=1, max_length=2048, description="A single text may be given without a list"
        ),
        BeforeValidator(_as_list),
    ]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: Annotated[int, Field(ge=1)] | None = None
    user: Name | None = None


@router.post("/v1/embeddings")
def embeddings(body: EmbeddingsRequest, request: Request) -> JSONResponse:
    """Make vectors of texts."""
    encoders: Encoders = request.app.state.encoders
    encoded = encoders.encode(body.model, body.input)
    vectors = _shortened(encoded.vectors, body.dimensions)
    written = _in_base64(vectors) if body.encoding_format == "base64" else vectors.tolist()
    whole = {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": each}
            for index, each in enumerate(written)
        ],
        "model": encoded.model,
        "usage": {"prompt_tokens": encoded.tokens, "total_tokens": encoded.tokens},
    }
    return JSONResponse(whole, headers=HEADERS)


def _shortened(vectors: NDArray[np.float32], dimensions: int | None) -> NDArray[np.float32]:
    """The first `dimensions` numbers of each (Matryoshka: Kusupati et al. 2022)."""
    most = vectors.shape[1]
    if dimensions in (None, most):
        return vectors
    if dimensions > most:
        raise InputError(
            f"the model has {most} dimensions, but {dimensions} were asked for",
            where="dimensions",
            fix="Ask for fewer, or leave it out.",
        )
    return unit(vectors[:, :dimensions])


def _in_base64(vectors: NDArray[np.float32]) -> list[str]:
    """Each as the bytes of its numbers, float32 with the lowest byte first."""
    return [base64.b64encode(each.tobytes()).decode() for each in vectors.astype("<f4")]
