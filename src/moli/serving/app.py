"""The HTTP API.

app = create_app(workspace)

Endpoints that work are plain functions, so each call has a thread; slow work takes turns.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import APIRouter, Depends, FastAPI, Path, Request, Response
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from pydantic import Field
from starlette.concurrency import run_in_threadpool

from moli.models.backend import ModelPool, RemoteModel
from moli.records.answers import Answer, Hit
from moli.records.documents import Document
from moli.records.errors import AccessError, NotFoundError, SettingsError
from moli.serving import audio, completions, embeddings, feedback, reranking, responses
from moli.serving.access import Access, Caller, Doorkeeper, Rates, check_public
from moli.serving.answering import Answering
from moli.serving.audio import Transcribing
from moli.serving.bodies import Body, Name, QueryGroups, Text
from moli.serving.encoders import Encoders
from moli.serving.errors import install
from moli.serving.guard import Guard, is_loopback
from moli.serving.library import Library
from moli.serving.observing import Meters, Observed
from moli.serving.turns import Turns
from moli.workspace import Settings, Workspace
from moli.workspace.filter import Filter

if TYPE_CHECKING:
    from moli.serving.models import Offered

_VERSION = version("moli")
_AS = "See only what these groups may see; other groups than one's own add nothing"
Groups = Annotated[list[Name] | None, Field(max_length=1000, description=_AS)]


class _Request(Body):
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


def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


Who = Annotated[Caller, Depends(_caller)]


def _visible(caller: Who, groups: QueryGroups = None) -> Filter:
    return caller.visible(groups)


Visible = Annotated[Filter, Depends(_visible)]
DocumentId = Annotated[int, Path(ge=1, lt=1 << 63)]

router = APIRouter()


@router.post("/v1/ask")
def ask(body: AskRequest, library: Served, caller: Who, request: Request) -> Answer:
    """Answer a question from the documents."""
    visible = caller.visible(body.groups, body.where)
    with request.app.state.turns.one():
        return library.ask(body.question, visible, caller.tenant)


@router.post("/v1/search")
def search(body: SearchRequest, library: Served, caller: Who) -> SearchResponse:
    """Find passages."""
    visible = caller.visible(body.groups, body.where)
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


@router.get("/v1/models")
def models(request: Request) -> dict[str, Any]:
    """List the language models: the base in the settings, and those trained here."""
    offered = request.app.state.answering.offered()
    return {"object": "list", "data": [_model(each) for each in offered]}


@router.get("/v1/models/{name:path}")
def model(name: Text, request: Request) -> dict[str, Any]:
    """Describe one model."""
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
    """Show how the server is set up."""
    return library.status(visible)


@router.get("/health")
async def health() -> dict[str, str]:
    """Say that the server is up."""
    return {"status": "ok", "version": _VERSION}


@router.get("/metrics")
def metrics(request: Request, caller: Who) -> Response:
    """Metrics for Prometheus, for admins."""
    if not caller.admin:
        raise AccessError("only an admin may read the metrics", fix="Use an admin key.")
    return Response(request.app.state.meters.text(), media_type=CONTENT_TYPE_PLAIN_0_0_4)


def _elsewhere(settings: Settings) -> RemoteModel | None:
    """The language model of the settings, where another server runs it."""
    if not settings.backend:
        return None
    if not settings.model:
        raise SettingsError(
            f"backend is {settings.backend}, but model is empty",
            where="moli.toml",
            fix="Set model to the name of the base that the server runs.",
        )
    timeout = settings.timeout_seconds
    return RemoteModel(settings.model, settings.backend, settings.backend_url, timeout)


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    app.state.library.begin()
    yield
    await run_in_threadpool(app.state.bases.close)


def create_app(workspace: Workspace, *, host: str = "") -> FastAPI:
    """The API of a workspace; its encoder is loaded here, its language model in the background.

    Args:
        host: the address the server listens on; default: the workspace's setting.

    Raises:
        ModelError: a model that the settings name cannot be loaded.
        SettingsError: other machines would reach it, and there is no key.
    """
    settings, host = workspace.settings, host or workspace.settings.host
    public = not is_loopback(host)
    if public:
        check_public(workspace.keys, host)
    # The interactive documentation would load its scripts from elsewhere.
    app = FastAPI(
        title="Moli",
        version=_VERSION,
        openapi_url="/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan,
    )
    state = app.state
    state.workspace, state.bases, state.meters = (
        workspace,
        ModelPool(_elsewhere(settings)),
        Meters(),
    )
    state.library = Library.open(workspace, state.bases)
    state.turns = Turns(settings.queue)
    state.encoders = Encoders(workspace, state.library.encoder)
    state.transcribing = Transcribing(settings)
    state.answering = Answering(workspace, state.bases, state.meters)
    state.meters.watch("moli_waiting", "Answers waiting for a model", state.bases.waiting_requests)
    state.meters.watch("moli_working", "Answers being written", state.bases.running_requests)
    for each in (completions, responses, embeddings, reranking, audio, feedback):
        app.include_router(each.router)
    app.include_router(router)
    state.doorkeeper = Doorkeeper(workspace.keys, settings.groups, public=public)
    # The last to be added is the first that a request reaches.
    app.add_middleware(Access, doorkeeper=state.doorkeeper, rates=Rates(settings.rate))
    app.add_middleware(Guard, host=host)
    app.add_middleware(Observed, meters=state.meters)
    install(app)
    return app
