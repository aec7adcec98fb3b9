"""Feedback on answers, and the stored records of answers: traces and exchanges."""

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
from moli.serving.bodies import Body, QueryGroups, StorableText
from moli.serving.json_body import JsonRoute
from moli.serving.library import Library
from moli.workspace import Workspace

router = APIRouter(route_class=JsonRoute)

_PREFIXES = ("chatcmpl-", "cmpl-", "resp_")
AnswerId = Annotated[StorableText, Path(max_length=64)]


class FeedbackRequest(Body):
    """Feedback on an answer.

    Attributes:
        id: the id of a completion, a response or a trace.
        choice: index of the answer, from 0, if there were several.
        correction: the answer as it should have been.
    """

    id: Annotated[StorableText, Field(min_length=1, max_length=64)]
    choice: Annotated[int, Field(ge=0, lt=1024)] = 0
    rating: Literal["up", "down"] | None = None
    comment: Annotated[StorableText, Field(max_length=10_000)] = ""
    correction: Annotated[StorableText, Field(max_length=100_000)] = ""

    @model_validator(mode="after")
    def _check_not_empty(self) -> FeedbackRequest:
        """Refuse feedback without a rating, comment or correction."""
        if not (self.rating or self.comment or self.correction):
            raise ValueError("give a rating, a comment or a correction")
        return self


# `name` keeps the operation's id in the OpenAPI description.
@router.post("/v1/feedback", status_code=201, name="give")
def add_feedback(body: FeedbackRequest, request: Request) -> Feedback:
    """Say how good an answer is, or how it should have been."""
    caller: Caller = request.state.caller
    answer = _find_answer(request, body.id, None)
    if isinstance(answer, Exchange) and body.choice >= len(answer.choices):
        raise InputError(
            f"the answer has {len(answer.choices)} choices", where="choice", fix="Count from 0."
        )
    workspace: Workspace = request.app.state.workspace
    return workspace.feedback.add(
        Feedback(
            answer_id=answer.id,
            created_at=time.time(),
            choice=body.choice,
            rating=body.rating or "",
            comment=body.comment,
            correction=body.correction,
            tenant=caller.tenant,
            key=caller.key,
        )
    )


@router.get("/v1/feedback", name="given")
def list_feedback(
    request: Request,
    after: Annotated[int, Query(ge=0, lt=1 << 63)] = 0,
    limit: Annotated[int, Query(ge=1, le=1000)] = 100,
) -> dict[str, Any]:
    """List feedback, oldest first; that of the caller's tenant, for its admins."""
    caller: Caller = request.state.caller
    if not caller.admin:
        raise AccessError("only an admin may list feedback", fix="Use an admin key.")
    workspace: Workspace = request.app.state.workspace
    feedback = workspace.feedback.list(tenant=caller.tenant, after=after, limit=limit)
    return {"object": "list", "data": feedback, "has_more": len(feedback) == limit}


@router.get("/v1/traces/{trace_id}")
def trace(trace_id: AnswerId, request: Request, groups: QueryGroups = None) -> Trace | Exchange:
    """Account for an answer: one from documents, or one of a model."""
    return _find_answer(request, trace_id, groups)


def _find_answer(
    request: Request, answer_id: str, groups: Sequence[str] | None
) -> Trace | Exchange:
    """The answer with an id, with or without the prefix that its API added.

    Args:
        groups: groups of the caller to see a trace as a member of; None for all of them.

    Raises:
        NotFoundError: there is none, or it is not for this caller.
    """
    caller: Caller = request.state.caller
    workspace: Workspace = request.app.state.workspace
    library: Library = request.app.state.library
    prefix = next((each for each in _PREFIXES if answer_id.startswith(each)), "")
    try:
        return workspace.exchanges.get_shown(answer_id.removeprefix(prefix), caller.tenant)
    except NotFoundError:
        return library.trace(answer_id, caller.document_filter(groups), caller.tenant)
