"""Endpoints for documents: ask, search, list and read; and the server's status."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any

from fastapi import APIRouter, Path, Request
from pydantic import Field

from moli.records.answers import Absence, Answer, Hit
from moli.records.documents import Document
from moli.serving.bodies import Body, ShortText, StorableText
from moli.serving.concurrency import WorkQueue
from moli.serving.dependencies import CallerDependency, LibraryDependency, VisibleFilter
from moli.serving.json_body import JsonRoute

router = APIRouter(route_class=JsonRoute)

Groups = Annotated[
    list[ShortText] | None,
    Field(
        max_length=1000,
        description="See only what these groups may see; other groups than one's own add nothing",
    ),
]


class _DocumentsRequest(Body):
    """Fields that limit a request to some documents."""

    groups: Groups = None
    where: Annotated[
        dict[ShortText, ShortText],
        Field(max_length=32, description="Attributes a document must have"),
    ] = Field(default_factory=dict)


class AskRequest(_DocumentsRequest):
    """A question."""

    question: StorableText


class SearchRequest(_DocumentsRequest):
    """A query."""

    query: Annotated[StorableText, Field(min_length=1, max_length=4000)]
    limit: Annotated[int, Field(ge=1, le=100)] = 10


@dataclass(frozen=True, slots=True)
class SearchResponse:
    """The best passages for a query, best first; `reason` says why no document could be found."""

    hits: list[Hit]
    reason: Absence = ""


@dataclass(frozen=True, slots=True)
class DocumentResponse:
    """A document with its whole text."""

    document: Document
    text: str


DocumentId = Annotated[int, Path(ge=1, lt=1 << 63)]


@router.post("/v1/ask")
async def ask(
    body: AskRequest, library: LibraryDependency, caller: CallerDependency, request: Request
) -> Answer:
    """Answer a question from the documents."""
    visible = caller.document_filter(body.groups, body.where)
    queue: WorkQueue = request.app.state.ask_queue
    work = partial(library.ask, body.question, visible, caller.tenant)
    answer = await queue.run(request, work)
    request.state.request_id = answer.trace_id
    return answer


@router.post("/v1/search")
async def search(
    body: SearchRequest, library: LibraryDependency, caller: CallerDependency, request: Request
) -> SearchResponse:
    """Find passages."""
    visible = caller.document_filter(body.groups, body.where)
    queue: WorkQueue = request.app.state.search_queue

    def work() -> SearchResponse:
        """Search, and find out why there is nothing."""
        hits = library.search(body.query, body.limit, visible)
        return SearchResponse(hits, "" if hits else library.absence(visible))

    return await queue.run(request, work)


@router.get("/v1/documents")
def documents(library: LibraryDependency, visible: VisibleFilter) -> list[Document]:
    """List the documents."""
    return library.documents(visible)


@router.get("/v1/documents/{document_id}")
def document(
    document_id: DocumentId, library: LibraryDependency, visible: VisibleFilter
) -> DocumentResponse:
    """Read a document."""
    listing = library.document(document_id, visible)
    return DocumentResponse(listing, library.text(document_id, visible))


@router.get("/v1/status")
def status(library: LibraryDependency, visible: VisibleFilter) -> dict[str, Any]:
    """Show how the server is set up."""
    return library.status(visible)
