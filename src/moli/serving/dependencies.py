"""Dependencies of endpoints, which FastAPI gets from a request.

They are coroutines, since a plain function would need a thread.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request

from moli.serving.access import Caller
from moli.serving.bodies import QueryGroups
from moli.serving.library import Library
from moli.workspace.filter import Filter


async def _get_library(request: Request) -> Library:
    """The library of the app."""
    library: Library = request.app.state.library
    return library


async def _get_caller(request: Request) -> Caller:
    """The caller that the access middleware authenticated."""
    caller: Caller = request.state.caller
    return caller


LibraryDependency = Annotated[Library, Depends(_get_library)]
CallerDependency = Annotated[Caller, Depends(_get_caller)]


async def _get_visible_filter(caller: CallerDependency, groups: QueryGroups = None) -> Filter:
    """Filter for the documents that the caller may see as a member of the query's groups."""
    return caller.document_filter(groups)


VisibleFilter = Annotated[Filter, Depends(_get_visible_filter)]
