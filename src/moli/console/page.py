"""The page in the API's app: a question, its answer, and the sources of the answer.

Text of documents, of models and of people reaches the browser as text nodes only: nothing here
writes markup, and no address in a document becomes a link.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from importlib.resources import files

from fastapi import FastAPI
from nicegui import core, ui
from nicegui.client import Client
from starlette.requests import Request
from starlette.routing import Match, Mount
from starlette.types import Scope

from moli.console import sign_in
from moli.console.ask_page import AskPage
from moli.console.reader import LibraryReader
from moli.console.translations import translation_for
from moli.serving.library import Library

_RESPONSE_TIMEOUT = 30.0  # seconds: a large library takes time to list its documents
_RECONNECT_TIMEOUT = 600.0  # seconds for which a browser's page is kept without connection


def mount_page(app: FastAPI, examples: Sequence[str] = ()) -> None:
    """Add the page to the API's app, at '/'.

    NiceGUI has one set of pages in a process, so only one app of a process can have the page.

    Args:
        app: from `moli.serving.app.create_app`.
        examples: questions offered while nothing has been asked.
    """
    library: Library = app.state.library
    here = files("moli.console")
    style = (here / "page.css").read_text(encoding="utf-8")
    script = (here / "page.js").read_text(encoding="utf-8")

    @ui.page(
        "/", dark=None, response_timeout=_RESPONSE_TIMEOUT, reconnect_timeout=_RECONNECT_TIMEOUT
    )
    async def page(request: Request, client: Client, trace: str = "") -> None:
        texts = translation_for(request.headers.get("accept-language", ""))
        client.page = copy.copy(client.page)
        client.page.language = texts.language
        ui.add_head_html(f"<style>{style}</style><script>{script}</script>")
        reader = LibraryReader(library, request.state.caller)
        ask_page = AskPage(reader, texts, examples)
        client.on_delete(ask_page.stop)
        await ask_page.list_documents()
        if trace:
            await ask_page.show_address(trace)

    app.include_router(sign_in.router)
    # The page shows itself what it waits for.
    core.app.config.quasar_config["loadingBar"]["skipHijack"] = True
    ui.run_with(app, title="Moli", tailwind=False, show_welcome_message=False)
    app.router.routes[-1] = _PageMount("/", core.app)


class _PageMount(Mount):
    """Routes the page and its resources; every other address stays with the API and its errors."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match requests for the page and its resources, and no others."""
        path = scope.get("path", "")
        is_page = path in ("/", "/favicon.ico") and scope.get("method") in ("GET", "HEAD")
        if is_page or path.startswith(("/_nicegui/", "/_nicegui_ws/")):
            return super().matches(scope)
        return Match.NONE, {}
