"""Endpoints that list the language models, in the shape of OpenAI's API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, Request

from moli.records.errors import NotFoundError
from moli.serving.bodies import StorableText

if TYPE_CHECKING:
    from moli.serving.served_models import ModelListing

router = APIRouter()


@router.get("/v1/models")
def models(request: Request) -> dict[str, Any]:
    """List the language models, the one in the settings first, and then the classifiers."""
    return {"object": "list", "data": [_model_object(each) for each in _list(request)]}


@router.get("/v1/models/{name:path}")
def model(name: StorableText, request: Request) -> dict[str, Any]:
    """Describe one model."""
    listings = _list(request)
    for listing in listings:
        if listing.id == name:
            return _model_object(listing)
    raise NotFoundError(
        f"no model is called '{name}'",
        fix=f"There are: {', '.join(each.id for each in listings) or 'none'}.",
    )


def _list(request: Request) -> list[ModelListing]:
    """All models that requests can name, besides the encoder."""
    from moli.serving.served_models import ModelListing

    state = request.app.state
    classifiers = [
        ModelListing(alias, stored.manifest.created_at, hash=stored.hash)
        for stored in state.encoders.classifiers()
        for alias in stored.aliases
    ]
    return [*state.generation_service.list_models(), *classifiers]


def _model_object(listing: ModelListing) -> dict[str, Any]:
    """A model in OpenAI's shape."""
    return {
        "id": listing.id,
        "object": "model",
        "created": int(listing.created_at),
        "owned_by": "moli",
        "parent": listing.parent or None,
        "root": listing.parent or listing.id,
        "hash": listing.hash or None,
    }
