"""Ids of requests, and HEAD for whatever has GET."""

from __future__ import annotations

import re
import uuid

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_CLIENT_ID = "X-Client-Request-Id"
_PRINTABLE = re.compile(r"[!-~]{1,512}")


class RequestIdMiddleware:
    """Gives every response an `X-Request-Id`, which its line in the log has too.

    That of an answer is the id of its trace: an endpoint sets `request.state.request_id`. An id
    that the client sent comes back as it was. A HEAD request is answered like a GET, without the
    body.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        is_head = scope["method"] == "HEAD"
        scope = {**scope, "method": "GET"} if is_head else scope
        state = scope.setdefault("state", {})
        state["request_id"] = uuid.uuid4().hex
        client_id = Headers(scope=scope).get(_CLIENT_ID, "")

        async def send_with_id(message: Message) -> None:
            """Pass a message on, with the ids if it begins a response."""
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers["X-Request-Id"] = state["request_id"]
                if _PRINTABLE.fullmatch(client_id):
                    headers[_CLIENT_ID] = client_id
            elif is_head and message["type"] == "http.response.body":
                message = {**message, "body": b""}
            await send(message)

        await self._app(scope, receive, send_with_id)
