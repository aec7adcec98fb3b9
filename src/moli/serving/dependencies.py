"""Dependencies of endpoints, which FastAPI gets from a request."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from moli.serving.access import Caller
from moli.serving.bodies import QueryGroups
from moli.serving.library import Library
from moli.workspace.filter import Filter


def _library(request: Request) -> Library:
    library: Library = request.app.state.library
    return library


def _caller(request: Request) -> Caller:
    caller: Caller = request.state.caller
    return caller


TheLibrary = Annotated[Library, Depends(_library)]
TheCaller = Annotated[Caller, Depends(_caller)]


def _visible(caller: TheCaller, groups: QueryGroups = None) -> Filter:
    return caller.document_filter(groups)


VisibleDocuments = Annotated[Filter, Depends(_visible)]  # narrowed by the query's `groups`
