"""Checks that every request has to pass before anything else: its host, origin and size.

A web page anywhere can make its visitor's browser call a server on that visitor's own machine. Its
requests either carry its own name as the host (DNS rebinding) or its own address as the origin.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from moli.serving.errors import error_response
from moli.serving.headers import HEADERS

MAX_BODY = 1 << 20  # bytes


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Error response to a request that is not let through."""

    status: int
    message: str
    code: str


class SecurityMiddleware:
    """Refuses requests for other hosts, from other origins, and with too large bodies.

    A body of up to `MAX_BODY` bytes is read whole before the request is passed on. The larger ones
    that some paths allow are passed on in chunks, so that nobody without a key can fill memory.

    Args:
        host: the address the server listens on. If it stands for every address, requests for any
            IP address and for this machine's name are accepted, since DNS rebinding needs a name
            of the attacker's.
        larger_bodies: maximum bytes of a body, by path, where it is more than `MAX_BODY`.
    """

    def __init__(
        self, app: ASGIApp, host: str, larger_bodies: Mapping[str, int] | None = None
    ) -> None:
        self._app = app
        self._larger_bodies = larger_bodies or {}
        self._hosts = {"localhost", host.lower().strip("[]")}
        self._any_address = _is_unspecified(host)
        if self._any_address:
            self._hosts.add(socket.gethostname().lower())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._check(headers)
        if scope["type"] == "websocket":
            inner = WebSocketClose(1008) if refusal else self._app
            await inner(scope, receive, send)
            return
        limit = self._larger_bodies.get(scope["path"], MAX_BODY)
        body = None if refusal else await _limit_body(headers, receive, limit)
        if body is None:
            refusal = refusal or _Refusal(413, _too_large(limit), "request_too_large")
            response = error_response(refusal.status, refusal.message, refusal.code)
            await response(scope, receive, send)
            return
        await self._app(scope, body, _add_headers(send))

    def _check(self, headers: Headers) -> _Refusal | None:
        """The refusal of a request with a wrong host or origin; None if both are right."""
        host = headers.get("host", "")
        if not self._is_own_host(host):
            return _Refusal(400, "this server does not answer to that host name", "host")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return _Refusal(403, "pages of other sites may not use this server", "origin")
        return None

    def _is_own_host(self, host: str) -> bool:
        """Whether a Host header names this server."""
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
        return self._any_address or address.is_loopback


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens on this address."""
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _is_unspecified(host: str) -> bool:
    """Whether a server that listens on this address does so on every address."""
    try:
        return ipaddress.ip_address(host).is_unspecified
    except ValueError:
        return not host


def _too_large(limit: int) -> str:
    """The message that a body is larger than `limit` bytes."""
    return f"the request has more than {limit} bytes"


async def _limit_body(headers: Headers, receive: Receive, limit: int) -> Receive | None:
    """A `receive` that gives the body of a request; None if it has more than `limit` bytes."""
    declared = headers.get("content-length", "0")
    if not declared.isdecimal() or int(declared) > limit:
        return None
    if limit > MAX_BODY:
        return _count_bytes(receive, limit)
    messages: list[Message] = []
    size = 0
    while True:
        message = await receive()
        messages.append(message)
        size += len(message.get("body", b""))
        if size > limit:
            return None
        if not message.get("more_body", False):
            return _replay(messages, receive)


def _replay(messages: list[Message], receive: Receive) -> Receive:
    """A `receive` that gives messages that were read already, and then the later ones."""
    waiting = iter(messages)

    async def replayed() -> Message:
        """The next message that was read already, then those still to come."""
        message = next(waiting, None)
        return await receive() if message is None else message

    return replayed


def _count_bytes(receive: Receive, limit: int) -> Receive:
    """A `receive` that raises HTTPException once the body has more than `limit` bytes."""
    size = 0

    async def counted() -> Message:
        """The next message, whose bytes are counted."""
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > limit:
            raise HTTPException(413, _too_large(limit))
        return message

    return counted


def _add_headers(send: Send) -> Send:
    """A `send` that adds the security headers to a response, and forbids caching it."""

    async def send_with_headers(message: Message) -> None:
        """Pass a message on, with the headers if it begins a response."""
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            headers.update(HEADERS)
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return send_with_headers
