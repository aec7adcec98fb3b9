"""Who sends a request, and whether they may: keys, what they see, and how often they ask.

Without any key, and only on this machine's own address, everyone who reaches the server is its
owner. Once there is a key, nobody is answered without one, even when all are revoked.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import cookie_parser
from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send
from starlette.websockets import WebSocketClose

from moli.records.errors import SettingsError
from moli.records.keys import Key
from moli.serving.errors import error_response
from moli.workspace.filter import Filter
from moli.workspace.keys import KeyStore, hash_secret

COOKIE = "moli_key"  # a browser's way to send its key
SIGN_IN = "/sign-in"
_OPEN = ("/health", "/favicon.ico", SIGN_IN)
_FRESH = 0.5  # seconds for which the keys are not read again


@dataclass(frozen=True, slots=True)
class Caller:
    """Who sends a request.

    Attributes:
        key: the name of their key; "" for the owner of a server without keys.
        tenant: whose answers, feedback and caches they share.
        groups: they see documents as a member of these.
    """

    key: str
    admin: bool
    tenant: str
    groups: frozenset[str]

    def visible(
        self, groups: Sequence[str] | None = None, where: Mapping[str, str] | None = None
    ) -> Filter:
        """What someone asking as a member of `groups` sees; None: all that they may."""
        own = self.groups
        return Filter(own if groups is None else own & frozenset(groups), where or {})


class Doorkeeper:
    """Knows who may come in.

    Args:
        groups: the owner's, where there are no keys.
        public: whether other machines reach the server too, so that a key is always needed.
    """

    def __init__(self, keys: KeyStore, groups: Sequence[str], *, public: bool) -> None:
        self._store = keys
        self._owner = Caller("", True, "", frozenset(groups))
        self._public = public
        self._turn = threading.Lock()
        self._read_at = -math.inf
        self._good: dict[str, Key] = {}
        self._closed = True  # until the keys have been read

    @property
    def fresh(self) -> bool:
        """Whether the keys were read recently enough."""
        return time.monotonic() - self._read_at <= _FRESH

    def read(self) -> None:
        """Look up which keys there are. May be called from any thread."""
        with self._turn:
            if not self.fresh:
                good = self._store.good()
                self._closed = self._public or bool(good or self._store.list())
                self._good, self._read_at = good, time.monotonic()

    def caller(self, secret: str) -> Caller | None:
        """The caller with this secret, by the keys last read; None if they may not come in."""
        key = self._good.get(hash_secret(secret)) if secret else None
        if key:
            return Caller(key.name, key.scope == "admin", key.tenant, frozenset(key.groups))
        return None if self._closed else self._owner


class Rates:
    """How often each may ask: a number of times a minute, all of them at once if need be.

    Args:
        most: requests a minute; 0 for no limit.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._left: dict[str, tuple[float, float]] = {}  # by name: what is left, and as of when

    def take(self, name: str) -> float:
        """Ask once; return the seconds to wait before it is allowed, 0 if it is granted."""
        if not self._most:
            return 0.0
        now = time.monotonic()
        left, then = self._left.get(name, (float(self._most), now))
        left = min(self._most, left + (now - then) * self._most / 60)
        self._left[name] = (left - 1 if left >= 1 else left, now)
        return 0.0 if left >= 1 else (1 - left) * 60 / self._most


class Access:
    """Lets in those whom the doorkeeper knows; endpoints find them as `request.state.caller`."""

    def __init__(self, app: ASGIApp, doorkeeper: Doorkeeper, rates: Rates) -> None:
        self._app, self._doorkeeper, self._rates = app, doorkeeper, rates

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] == "lifespan" or path in _OPEN:
            await self._app(scope, receive, send)
            return
        secret, doorkeeper = _secret(Headers(scope=scope)), self._doorkeeper
        if not doorkeeper.fresh:  # the store is read, so not in the event loop
            await run_in_threadpool(doorkeeper.read)
        caller = doorkeeper.caller(secret)
        if caller is None:
            await _refusal(scope)(scope, receive, send)
            return
        if scope.get("method") == "POST" and (wait := self._rates.take(caller.key)):
            seconds = math.ceil(wait)
            message = f"too many requests; try again in {seconds} s"
            response = error_response(429, message, "rate_limit_exceeded")
            response.headers["Retry-After"] = str(seconds)
            await response(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = caller
        await self._app(scope, receive, send)


def check_public(keys: KeyStore, host: str) -> None:
    """Check that a server that others reach has a key.

    Raises:
        SettingsError: it has none.
    """
    if not keys.good():
        raise SettingsError(
            "others could reach the server, but it has no key",
            where=host,
            fix="Make one: moli key add NAME --admin. Or listen on 127.0.0.1.",
        )


def _secret(headers: Headers) -> str:
    kind, _, secret = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return secret.strip()
    return cookie_parser(headers.get("cookie", "")).get(COOKIE, "")


def _refusal(scope: Scope) -> ASGIApp:
    if scope["type"] == "websocket":
        return WebSocketClose(1008)
    if scope["method"] == "GET" and scope["path"] == "/":
        return RedirectResponse(SIGN_IN, 303)
    message = "no valid key; send 'Authorization: Bearer KEY' with one from 'moli key add'"
    response = error_response(401, message, "invalid_api_key")
    response.headers["WWW-Authenticate"] = "Bearer"
    return response
