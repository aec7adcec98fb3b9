"""Checks that every request has to pass before anything else: its host, origin and size.

A web page anywhere can make its visitor's browser call a server on that visitor's own machine. Its
requests either carry its own name as the host (DNS rebinding) or its own address as the origin.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from moli.serving.errors import RETRY_SECONDS, error_response
from moli.serving.headers import HEADERS

MAX_BODY = 1 << 20  # bytes, by default
_BODY_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Error response to a request that is not let through."""

    status: int
    message: str
    code: str


class SecurityMiddleware:
    """Refuses requests for other hosts, from other origins, and with too large bodies.

    A body of up to `max_body` bytes is read whole before the request is passed on. The larger ones
    that some paths allow are passed on in chunks, so that nobody without a key can fill memory.

    Args:
        host: the address the server listens on. If it stands for every address, requests for any
            IP address and for this machine's name are accepted, since DNS rebinding needs a name
            of the attacker's.
        larger_bodies: maximum bytes of a body, by path, where it may be more than `max_body`.
        max_body: maximum bytes of a body on other paths.
        body_seconds: time for the body of a request, and again for each further MiB of it.
    """

    def __init__(
        self,
        app: ASGIApp,
        host: str,
        larger_bodies: Mapping[str, int] | None = None,
        max_body: int = MAX_BODY,
        body_seconds: float = _BODY_SECONDS,
    ) -> None:
        self._app = app
        self._larger_bodies = larger_bodies or {}
        self._max_body, self._body_seconds = max_body, body_seconds
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
        if refusal is None:
            try:
                receive = await self._read_body(scope["path"], headers, receive)
            except _RefusedError as error:
                refusal = error.refusal
        if refusal:
            response = error_response(headers, refusal.status, refusal.message, code=refusal.code)
            response.headers["Connection"] = "close"  # a body may still come
            await response(scope, receive, send)
        else:
            await self._app(scope, receive, _add_headers(send))

    async def _read_body(self, path: str, headers: Headers, receive: Receive) -> Receive:
        """A `receive` that gives the body of a request.

        Raises:
            _RefusedError: the body is too large or too slow.
        """
        limit = max(self._larger_bodies.get(path, 0), self._max_body)
        declared = headers.get("content-length", "0")
        if not declared.isdecimal() or int(declared) > limit:
            raise _RefusedError(_too_large(limit))
        limited = _limit_body(receive, limit, self._body_seconds)
        return limited if limit > self._max_body else await _read_whole(limited)

    def _check(self, headers: Headers) -> _Refusal | None:
        """The refusal of a request with a wrong host or origin; None if both are right."""
        host = headers.get("host", "")
        if not self._is_own_host(host):
            return _Refusal(400, "this server does not answer to that host name", code="host")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return _Refusal(403, "pages of other sites may not use this server", code="origin")
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


class ShutdownMiddleware:
    """Answers requests that are cancelled, as those are that a server which stops cannot finish."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        has_begun = False

        async def send_and_note(message: Message) -> None:
            """Pass a message on, and note that there is a response."""
            nonlocal has_begun
            has_begun = True
            await send(message)

        try:
            await self._app(scope, receive, send_and_note)
        except asyncio.CancelledError:
            if has_begun or scope["type"] != "http":
                raise
            message = "the server is stopping; try again later"
            response = error_response(Headers(scope=scope), 503, message, code="stopping")
            response.headers["Retry-After"] = str(RETRY_SECONDS)
            await response(scope, receive, send)


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


class _RefusedError(HTTPException):
    """A body that is too large or too slow, wherever it is read."""

    def __init__(self, refusal: _Refusal) -> None:
        super().__init__(refusal.status, refusal.message)
        self.refusal = refusal


def _too_large(limit: int) -> _Refusal:
    """The refusal of a body of more than `limit` bytes."""
    return _Refusal(413, f"the request has more than {limit} bytes", code="request_too_large")


def _too_slow(seconds: float) -> _Refusal:
    """The refusal of a body that took more than a number of seconds."""
    return _Refusal(408, f"the body did not come within {seconds:g} s", code="timeout")


def _limit_body(receive: Receive, limit: int, seconds: float) -> Receive:
    """A `receive` that raises _RefusedError once the body has too many bytes or takes too long."""
    size, is_complete = 0, False
    begun = asyncio.get_running_loop().time()

    async def limited() -> Message:
        """The next message, whose bytes are counted; after the body, what the server says."""
        nonlocal size, is_complete
        if is_complete:
            return await receive()
        try:
            async with asyncio.timeout_at(begun + seconds * (1 + size // MAX_BODY)):
                message = await receive()
        except TimeoutError:
            raise _RefusedError(_too_slow(seconds)) from None
        size += len(message.get("body", b""))
        if size > limit:
            raise _RefusedError(_too_large(limit))
        is_complete = not message.get("more_body", False)
        return message

    return limited


async def _read_whole(receive: Receive) -> Receive:
    """A `receive` that gives a body again that was read whole, and then the later messages."""
    messages = [await receive()]
    while messages[-1].get("more_body", False):
        messages.append(await receive())
    waiting = iter(messages)

    async def replayed() -> Message:
        """The next message that was read already, then those still to come."""
        message = next(waiting, None)
        return await receive() if message is None else message

    return replayed


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
