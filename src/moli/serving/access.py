"""Authentication and rate limits: who sends a request, and whether it is answered.

As long as no key was ever made, everyone who reaches a server on this machine's own address is its
owner. From the first key on, every request needs a valid one, even when all keys are revoked.
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

COOKIE = "moli_key"  # a browser sends its key in this cookie
SIGN_IN, SIGN_OUT = "/sign-in", "/sign-out"
_PATHS_WITHOUT_KEY = ("/health", "/favicon.ico", SIGN_IN, SIGN_OUT)
_REFRESH_SECONDS = 0.5  # keys that were read less long ago are not read again


@dataclass(frozen=True, slots=True)
class Caller:
    """The sender of a request.

    Attributes:
        key: name of their key; "" for the owner of a server without keys.
        tenant: answers, feedback and caches are shared within a tenant only.
        groups: groups they are a member of, which decide what documents they see.
    """

    key: str
    admin: bool
    tenant: str
    groups: frozenset[str]

    def document_filter(
        self, groups: Sequence[str] | None = None, where: Mapping[str, str] | None = None
    ) -> Filter:
        """Filter for the documents that this caller may see.

        Args:
            groups: groups to narrow the view to; None for all of the caller's.
            where: attributes that the documents must have.
        """
        own = self.groups
        return Filter(own if groups is None else own & frozenset(groups), where or {})


class Authenticator:
    """Finds the caller that a key belongs to.

    Args:
        groups: the owner's groups, for a server without keys.
        public: whether other machines reach the server too, so that a key is always needed.
    """

    def __init__(self, keys: KeyStore, groups: Sequence[str], *, public: bool) -> None:
        self._store = keys
        self._owner = Caller("", True, "", frozenset(groups))
        self._public = public
        self._lock = threading.Lock()
        self._refreshed_at = -math.inf
        self._keys: dict[str, Key] = {}  # valid keys by the hash of their secret
        self._needs_key = True  # until the keys have been read

    @property
    def is_fresh(self) -> bool:
        """Whether the keys were read recently enough."""
        return time.monotonic() - self._refreshed_at <= _REFRESH_SECONDS

    def refresh(self) -> None:
        """Read the keys from the store, unless that was just done. Callable from any thread."""
        with self._lock:
            if not self.is_fresh:
                keys = self._store.valid()
                self._needs_key = self._public or bool(keys or self._store.list())
                self._keys, self._refreshed_at = keys, time.monotonic()

    def authenticate(self, secret: str) -> Caller | None:
        """The caller with this secret, by the keys last read; None if access is denied."""
        key = self._keys.get(hash_secret(secret)) if secret else None
        if key:
            return Caller(key.name, key.scope == "admin", key.tenant, frozenset(key.groups))
        return None if self._needs_key else self._owner


@dataclass(frozen=True, slots=True)
class _Allowance:
    """Number of requests that a caller may make at the time `at`, by `time.monotonic`."""

    requests: float
    at: float


class RateLimiter:
    """Limits how many requests a minute each caller makes; they may come in one burst.

    Args:
        per_minute: maximum requests a minute; 0 for no limit.
    """

    def __init__(self, per_minute: int) -> None:
        self._per_minute = per_minute
        self._allowances: dict[str, _Allowance] = {}  # by the caller's key

    def acquire(self, caller: str) -> float:
        """Count a request if it is allowed.

        Returns:
            0 if it is allowed, otherwise the seconds until the next one will be.
        """
        if not self._per_minute:
            return 0.0
        now = time.monotonic()
        last = self._allowances.get(caller, _Allowance(float(self._per_minute), now))
        left = min(self._per_minute, last.requests + (now - last.at) * self._per_minute / 60)
        self._allowances[caller] = _Allowance(left - 1 if left >= 1 else left, now)
        return 0.0 if left >= 1 else (1 - left) * 60 / self._per_minute


class AccessMiddleware:
    """Lets authenticated callers through, who are then in `request.state.caller`."""

    def __init__(self, app: ASGIApp, authenticator: Authenticator, limiter: RateLimiter) -> None:
        self._app, self._authenticator, self._limiter = app, authenticator, limiter

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = scope.get("path", "")
        if scope["type"] == "lifespan" or path in _PATHS_WITHOUT_KEY:
            await self._app(scope, receive, send)
            return
        authenticator = self._authenticator
        if not authenticator.is_fresh:  # the store is read, so not in the event loop
            await run_in_threadpool(authenticator.refresh)
        headers = Headers(scope=scope)
        caller = authenticator.authenticate(_read_secret(headers))
        if caller is None:
            await _unauthenticated_response(scope)(scope, receive, send)
            return
        if scope.get("method") == "POST" and (wait := self._limiter.acquire(caller.key)):
            seconds = math.ceil(wait)
            message = f"too many requests; try again in {seconds} s"
            response = error_response(headers, 429, message, code="rate_limit_exceeded")
            response.headers["Retry-After"] = str(seconds)
            await response(scope, receive, send)
            return
        scope.setdefault("state", {})["caller"] = caller
        await self._app(scope, receive, send)


def check_has_key(keys: KeyStore, host: str) -> None:
    """Check that a server that other machines reach has a key.

    Raises:
        SettingsError: it has none.
    """
    if not keys.valid():
        raise SettingsError(
            "others could reach the server, but it has no key",
            where=host,
            fix="Make one: moli key add NAME --admin. Or listen on 127.0.0.1.",
        )


def _read_secret(headers: Headers) -> str:
    """Secret of the key in the Authorization header or the cookie; "" if there is none."""
    kind, _, secret = headers.get("authorization", "").partition(" ")
    if kind.lower() == "bearer":
        return secret.strip()
    return cookie_parser(headers.get("cookie", "")).get(COOKIE, "")


def _unauthenticated_response(scope: Scope) -> ASGIApp:
    """Response to a request without a valid key; a browser is sent to the sign-in page."""
    if scope["type"] == "websocket":
        return WebSocketClose(1008)
    if scope["method"] == "GET" and scope["path"] == "/":
        return RedirectResponse(SIGN_IN, 303)
    message = "no valid key; send 'Authorization: Bearer KEY' with one from 'moli key add'"
    response = error_response(Headers(scope=scope), 401, message, code="invalid_api_key")
    response.headers["WWW-Authenticate"] = "Bearer"
    return response
