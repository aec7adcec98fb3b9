"""What an operator sees: a line of JSON for each request, and numbers for Prometheus.

Neither holds a word of what was asked or answered; `log_texts` in the settings adds those to the
lines.
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

_log = logging.getLogger("moli.requests")
_SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)
_UNKNOWN = "(none)"  # the route of an unknown address: its text could be anything


class Meters:
    """Counters, histograms and gauges."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        requests = ("route", "method", "status")
        self._requests = Counter(
            "moli_requests", "Requests that were answered", requests, registry=self._registry
        )
        self._seconds = Histogram(
            "moli_request_seconds",
            "Time until the last byte of a response",
            ("route",),
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._tokens = Counter(
            "moli_tokens", "Tokens, by kind", ("model", "kind"),
            registry=self._registry,
        )  # fmt: skip
        self._first = Histogram(
            "moli_first_token_seconds", "Time until an answer begins", ("model",),
            buckets=_SECONDS, registry=self._registry,
        )  # fmt: skip

    def watch(self, name: str, what: str, read: Callable[[], float]) -> None:
        """Report a number as it is whenever it is asked for."""
        Gauge(name, what, registry=self._registry).set_function(read)

    def requested(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def answered(
        self, model: str, read: int, cached: int, written: int, timings: Mapping[str, float]
    ) -> None:
        """Count the tokens of an exchange; `timings` in milliseconds."""
        for kind, count in (("read", read), ("cached", cached), ("written", written)):
            self._tokens.labels(model, kind).inc(count)
        self._first.labels(model).observe(timings.get("first", 0.0) / 1000)

    def text(self) -> bytes:
        """All of it, as Prometheus reads it."""
        return bytes(generate_latest(self._registry))


class Observed:
    """Counts and logs each request to an app."""

    def __init__(self, app: ASGIApp, meters: Meters) -> None:
        self._app, self._meters = app, meters

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        begun, status = time.perf_counter(), 500

        async def sending(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, sending)
        finally:
            seconds = time.perf_counter() - begun
            route = getattr(scope.get("route"), "path", _UNKNOWN)
            self._meters.requested(route, scope["method"], status, seconds)
            caller = scope.get("state", {}).get("caller")
            log(
                "request",
                method=scope["method"],
                route=route,
                status=status,
                ms=round(seconds * 1000, 1),
                key=caller.key if caller else "",
            )


def log(event: str, **facts: object) -> None:
    """Write a line of JSON."""
    if _log.isEnabledFor(logging.INFO):
        _log.info(json.dumps({"time": round(time.time(), 3), "event": event, **facts}))


def log_to(handler: logging.Handler) -> None:
    """Have the lines written by a handler."""
    _log.setLevel(logging.INFO)
    _log.propagate = False
    _log.addHandler(handler)
