"""Metrics for Prometheus. They contain no text of a request or an answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from moli.serving.generation import Usage
from moli.serving.request_log import log

_BUCKETS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120)  # seconds
_UNKNOWN_ROUTE = "(none)"  # an unknown path could have any text, so it is not recorded


class Metrics:
    """Counters, histograms and gauges of a server."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "moli_requests", "Requests that were answered", ("route", "method", "status"),
            registry=self._registry,
        )  # fmt: skip
        self._seconds = Histogram(
            "moli_request_seconds", "Time until the last byte of a response", ("route",),
            buckets=_BUCKETS, registry=self._registry,
        )  # fmt: skip
        self._tokens = Counter(
            "moli_tokens", "Tokens, by kind", ("model", "kind"),
            registry=self._registry,
        )  # fmt: skip
        self._first_token = Histogram(
            "moli_first_token_seconds", "Time until an answer begins", ("model",),
            buckets=_BUCKETS, registry=self._registry,
        )  # fmt: skip

    def add_gauge(self, name: str, description: str, read: Callable[[], float]) -> None:
        """Add a gauge; `read` returns its value whenever the metrics are requested."""
        Gauge(name, description, registry=self._registry).set_function(read)

    def count_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request and the time it took."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def count_generation(self, model: str, usage: Usage, timings_ms: Mapping[str, float]) -> None:
        """Count the tokens of a request and its answers, and the time to the first token."""
        counts = {
            "read": usage.prompt_tokens - usage.cached_tokens,
            "cached": usage.cached_tokens,
            "written": usage.completion_tokens,
        }
        for kind, count in counts.items():
            self._tokens.labels(model, kind).inc(count)
        self._first_token.labels(model).observe(timings_ms.get("first", 0.0) / 1000)

    def render(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return bytes(generate_latest(self._registry))


class MetricsMiddleware:
    """Counts and logs every HTTP request."""

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.perf_counter(), 500

        async def send_and_note_status(message: Message) -> None:
            """Pass a message on, and note the response's status."""
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, send_and_note_status)
        finally:
            seconds = time.perf_counter() - started
            route = getattr(scope.get("route"), "path", _UNKNOWN_ROUTE)
            self._metrics.count_request(route, scope["method"], status, seconds)
            state = scope.get("state", {})
            caller = state.get("caller")
            log(
                "request",
                id=state.get("request_id", ""),
                method=scope["method"],
                route=route,
                status=status,
                ms=round(seconds * 1000, 1),
                key=caller.key if caller else "",
                **state.get("error", {}),
            )
