"""Feedback on answers, and how each answer was produced."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Request
from pydantic import Field, model_validator

from moli.records.answers import Trace
from moli.records.errors import AccessError, InputError, NotFoundError
from moli.records.exchanges import Exchange, Feedback
from moli.serving.access import Caller
from moli.serving.bodies import Body, QueryGroups, Text
from moli.serving.library import Library
from moli.workspace import Workspace

router = APIRouter()

_PREFIXES = ("chatcmpl-", "cmpl-", "resp_")
AnswerId = Annotated[Text, Path(max_length=64)]


class FeedbackRequest(Body):
    """Feedback on an answer.

    Attributes:
        id: that the answer came with: a completion's, a response's or a trace's.
        choice: which of several answers, from 0.
        correction: the answer as it should have been.
    """

    id: Annotated[Text, Field(min_length=1, max_length=64)]
    choice: Annotated[int, Field(ge=0, lt=1024)] = 0
    rating: Literal["up", "down"] | None = None
    comment: Annotated[Text, Field(max_length=10_000)] = ""
    correction: Annotated[Text, Field(max_length=100_000)] = ""

    @model_validator(mode="after")
    def _says_something(self) -> FeedbackRequest:
        if not (self.rating or self.comment or self.correction):
            raise ValueError("give a rating, a comment or a correction")
        return self


@router.post("/v1/feedback", status_code=201)
def give(body: FeedbackRequest, request: Request) -> Feedback:
    """Say how good an answer is, or how it should have been."""
    caller: Caller = request.state.caller
    found = _answer(request, body.id, None)
    if isinstance(found, Exchange) and body.choice >= len(found.choices):
        raise InputError(
            f"the answer has {len(found.choices)} choices", where="choice", fix="Count from 0."
        )
    workspace: Workspace = request.app.state.workspace
    return workspace.feedback.add(
        Feedback(
            answer_id=found.id,
            created_at=time.time(),
            choice=body.choice,
            rating=body.rating or "",
            comment=body.comment,
            correction=body.correction,
            tenant=caller.tenant,
            key=caller.key,
        )
    )


@router.get("/v1/feedback")
def given(
    request: Request,
    after: Annotated[int, Query(ge=0, lt=1 << 63)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> dict[str, Any]:
    """List feedback, oldest first; that of the caller's tenant, for its admins."""
    caller: Caller = request.state.caller
    if not caller.admin:
        raise AccessError("only an admin may list feedback", fix="Use an admin key.")
    workspace: Workspace = request.app.state.workspace
    found = workspace.feedback.list(tenant=caller.tenant, after=after, limit=limit)
    return {"object": "list", "data": found, "has_more": len(found) == limit}


@router.get("/v1/traces/{trace_id}")
def trace(trace_id: AnswerId, request: Request, groups: QueryGroups = None) -> Trace | Exchange:
    """Account for an answer: one from documents, or one of a model."""
    return _answer(request, trace_id, groups)


def _answer(request: Request, name: str, groups: Sequence[str] | None) -> Trace | Exchange:
    """The answer with this id, given with or without the prefix that its API added.

    Raises:
        NotFoundError: there is none, or it is not for this caller.
    """
    caller: Caller = request.state.caller
    workspace: Workspace = request.app.state.workspace
    library: Library = request.app.state.library
    number = next((name.removeprefix(p) for p in _PREFIXES if name.startswith(p)), name)
    try:
        return workspace.exchanges.shown(number, caller.tenant)
    except NotFoundError:
        return library.trace(name, caller.visible(groups), caller.tenant)
