"""What every request passes first: its host, its origin and its size are checked.

A web page anywhere can make its visitor's browser call a server on that visitor's own machine. Its
requests either carry its own name as the host (DNS rebinding) or its own address as the origin.
"""

from __future__ import annotations

import ipaddress
import socket
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from moli.serving.errors import error_response
from moli.serving.headers import HEADERS

MAX_BODY = 1 << 20
# Sound needs more: 25 MiB, as elsewhere, and room for the other fields.
LARGER = {"/v1/audio/transcriptions": (25 << 20) + MAX_BODY}


class Guard:
    """Refuses requests for other hosts, from other origins, and with too many bytes.

    A body is read whole before it is passed on, up to `MAX_BODY` bytes. What may be `LARGER` is
    passed on as it comes, so that nobody without a key can fill memory.

    Args:
        host: the address the server listens on. One that means every address lets in requests for
            any IP address and for this machine's name: rebinding needs a name of its own.
    """

    def __init__(self, app: ASGIApp, host: str) -> None:
        self._app = app
        self._hosts = {"localhost", host.lower().strip("[]")}
        self._everywhere = _is_unspecified(host)
        if self._everywhere:
            self._hosts.add(socket.gethostname().lower())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(headers)
        if scope["type"] == "websocket":
            inner = WebSocketClose(1008) if refusal else self._app
            await inner(scope, receive, send)
            return
        most = LARGER.get(scope["path"], MAX_BODY)
        body = None if refusal else await _body(headers, receive, most)
        if body is None:
            refusal = refusal or (413, _too_large(most), "request_too_large")
            await error_response(*refusal)(scope, receive, send)
            return
        await self._app(scope, body, _with_headers(send))

    def _refusal(self, headers: Headers) -> tuple[int, str, str] | None:
        host = headers.get("host", "")
        if not self._is_own(host):
            return 400, "this server does not answer to that host name", "host"
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return 403, "pages of other sites may not use this server", "origin"
        return None

    def _is_own(self, host: str) -> bool:
        try:
            name = (urlsplit(f"//{host}").hostname or "").lower()
        except ValueError:
            return False
        if name in self._hosts and name:
            return True
        try:
            address = ipaddress.ip_address(name)
        except ValueError:
            return False
        return self._everywhere or address.is_loopback


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens there."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _is_unspecified(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return not host


def _too_large(most: int) -> str:
    return f"the request has more than {most} bytes"


async def _body(headers: Headers, receive: Receive, most: int) -> Receive | None:
    """What passes a request's body on; None if there are more than `most` bytes."""
    declared = headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared) > most:
        return None
    if most > MAX_BODY:
        return _counted(receive, most)
    messages: list[Message] = []
    size = 0
    while True:
        message = await receive()
        messages.append(message)
        size += len(message.get("body", b""))
        if size > most:
            return None
        if not message.get("more_body", False):
            return _replay(messages, receive)


def _replay(messages: list[Message], receive: Receive) -> Receive:
    waiting = iter(messages)

    async def replayed() -> Message:
        message = next(waiting, None)
        return await receive() if message is None else message

    return replayed


def _counted(receive: Receive, most: int) -> Receive:
    """The messages of a body as they come; reading more than `most` bytes raises."""
    size = 0

    async def counted() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > most:
            raise HTTPException(413, _too_large(most))
        return message

    return counted


def _with_headers(send: Send) -> Send:
    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.update(HEADERS)
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return sending
