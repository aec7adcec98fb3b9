"""The HTTP API.

app = create_app(workspace)

Endpoints are plain functions, so each call runs in a thread of its own and none holds up another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Path, Query, Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from moli.models.engine.bases import Bases
from moli.records.answers import Answer, Hit, Trace
from moli.records.documents import Document
from moli.records.errors import NotFoundError
from moli.serving import completions
from moli.serving.answering import Answering
from moli.serving.errors import install
from moli.serving.guard import Guard
from moli.serving.library import Library
from moli.workspace import Workspace
from moli.workspace.filter import Filter

if TYPE_CHECKING:
    from moli.serving.models import Offered


def _storable(text: str) -> str:
    # JSON can write half of a surrogate pair and a null character; a database can store neither.
    if "\0" in text or any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("holds a character that cannot be stored")
    return text


Text = Annotated[str, AfterValidator(_storable)]
Name = Annotated[Text, Field(max_length=1000)]
Groups = Annotated[
    list[Name] | None,
    Field(max_length=1000, description="See only as these groups do; more than the server's own "
          "cannot be seen"),
]  # fmt: skip


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")

    groups: Groups = None
    where: Annotated[
        dict[Name, Name], Field(max_length=32, description="Attributes a document must have")
    ] = Field(default_factory=dict)


class AskRequest(_Request):
    """A question."""

    question: Text


class SearchRequest(_Request):
    """A query."""

    query: Annotated[Text, Field(min_length=1, max_length=4000)]
    limit: Annotated[int, Field(ge=1, le=100)] = 10


@dataclass(frozen=True, slots=True)
class SearchResponse:
    """The best passages for a query, best first."""

    hits: list[Hit]


@dataclass(frozen=True, slots=True)
class DocumentResponse:
    """A document with its whole text."""

    document: Document
    text: str


def _library(request: Request) -> Library:
    library: Library = request.app.state.library
    return library


Served = Annotated[Library, Depends(_library)]


def _visible(library: Served, groups: Annotated[Groups, Query()] = None) -> Filter:
    return library.visible(groups)


Visible = Annotated[Filter, Depends(_visible)]
DocumentId = Annotated[int, Path(ge=1, lt=1 << 63)]
TraceId = Annotated[Text, Path(max_length=64)]

router = APIRouter()


@router.post("/v1/ask")
def ask(body: AskRequest, library: Served) -> Answer:
    """Answer a question from the documents."""
    return library.ask(body.question, library.visible(body.groups, body.where))


@router.post("/v1/search")
def search(body: SearchRequest, library: Served) -> SearchResponse:
    """Find passages."""
    visible = library.visible(body.groups, body.where)
    return SearchResponse(library.search(body.query, body.limit, visible))


@router.get("/v1/documents")
def documents(library: Served, visible: Visible) -> list[Document]:
    """List the documents."""
    return library.documents(visible)


@router.get("/v1/documents/{document_id}")
def document(document_id: DocumentId, library: Served, visible: Visible) -> DocumentResponse:
    """Read a document."""
    found = library.document(document_id, visible)
    return DocumentResponse(found, library.text(document_id, visible))


@router.get("/v1/traces/{trace_id}")
def trace(trace_id: TraceId, library: Served, visible: Visible) -> Trace:
    """Account for an answer."""
    return library.trace(trace_id, visible)


@router.get("/v1/models")
def models(request: Request) -> dict[str, Any]:
    """List the models that write: the base of the settings, and those trained here."""
    offered = request.app.state.answering.offered()
    return {"object": "list", "data": [_model(each) for each in offered]}


@router.get("/v1/models/{name:path}")
def model(name: Text, request: Request) -> dict[str, Any]:
    """Tell of one model."""
    offered = request.app.state.answering.offered()
    for each in offered:
        if each.id == name:
            return _model(each)
    raise NotFoundError(
        f"no model is called '{name}'",
        fix=f"There are: {', '.join(each.id for each in offered) or 'none'}.",
    )


def _model(offered: Offered) -> dict[str, Any]:
    return {
        "id": offered.id,
        "object": "model",
        "created": int(offered.created_at),
        "owned_by": "moli",
        "parent": offered.parent or None,
        "root": offered.parent or offered.id,
        "hash": offered.hash or None,
    }


@router.get("/v1/status")
def status(library: Served, visible: Visible) -> dict[str, Any]:
    """Say how the server is set up."""
    return library.status(visible)


@router.get("/healthz")
def healthz() -> dict[str, str]:
    """Say that the server is up."""
    return {"status": "ok"}


def create_app(workspace: Workspace, *, host: str = "") -> FastAPI:
    """The API of a workspace; its models are loaded here, once.

    Args:
        host: the address the server listens on; default: the workspace's setting.

    Raises:
        ModelError: a model that the settings name cannot be loaded.
    """
    # The interactive documentation would load its scripts from elsewhere.
    app = FastAPI(title="Moli", openapi_url="/v1/openapi.json", docs_url=None, redoc_url=None)
    app.state.bases = Bases()
    app.state.library = Library.open(workspace, app.state.bases)
    app.state.answering = Answering(workspace, app.state.bases)
    app.include_router(router)
    app.include_router(completions.router)
    app.add_middleware(Guard, host=host or workspace.settings.host)
    install(app)
    return app
