"""Limits on connections: their number, a request's head, and the time a response takes to be read.

uvicorn waits for a client that sends or reads nothing for as long as the client likes, and keeps
any number of connections. This costs a client nothing and a server its memory and files.
"""

from __future__ import annotations

import asyncio
import json
from functools import partial
from typing import Any

from fastapi import FastAPI
from uvicorn import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from moli.serving.errors import RETRY_SECONDS, error_object
from moli.workspace import Settings

_MAX_HEAD = 1 << 16  # bytes of a request line and its headers
_SIZE_PER_WAIT = 1 << 20  # bytes of a response for which a client has one more wait
_PHRASES = {408: "Request Timeout", 431: "Request Header Fields Too Large", 503: "Busy"}


def server_config(app: FastAPI, settings: Settings, **options: Any) -> Config:
    """The configuration of a server of an app, with the limits of the settings.

    Args:
        options: further options of uvicorn.
    """
    limited: Any = partial(
        LimitedProtocol,
        max_connections=settings.max_connections,
        wait_seconds=settings.request_seconds,
    )
    return Config(app, http=limited, log_level="warning", server_header=False, **options)


class LimitedProtocol(HttpToolsProtocol):
    """uvicorn's connection, closed if a request's head is too slow or large, or nobody reads.

    Args:
        max_connections: connections that a server has at once; more are told to come back.
        wait_seconds: time for the head of a request, from its first byte or from the connection;
            and for a client to take what is sent to it, again for each further MiB.
        options: options of uvicorn's own class.
    """

    def __init__(self, *, max_connections: int, wait_seconds: float, **options: Any) -> None:
        super().__init__(**options)
        self._max_connections, self._wait_seconds = max_connections, wait_seconds
        self._timer: asyncio.TimerHandle | None = None  # while a head is waited for
        self._unread_timer: asyncio.TimerHandle | None = None  # while something is not sent yet
        self._head_size = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Refuse a connection that is one too many."""
        super().connection_made(transport)
        transport.set_write_buffer_limits(0)  # so that `pause_writing` tells of all that waits
        if len(self.connections) > self._max_connections:
            self._refuse(503, "too many connections; try again later", "busy")
        else:
            self._start_timer()

    def data_received(self, data: bytes) -> None:
        """Pass data on, and count those of a head."""
        if self.transport.is_closing():
            return
        super().data_received(data)
        if self._timer:
            self._head_size += len(data)
            if self._head_size > _MAX_HEAD:
                self._refuse(431, f"the headers have more than {_MAX_HEAD} bytes", "headers")

    def on_message_begin(self) -> None:
        """The first byte of a request has come."""
        if not self._timer:
            self._start_timer()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """The head of a request has come."""
        self._stop_timer()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection has ended."""
        self._stop_timer()
        self._stop_unread_timer()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        """The client takes less than is sent: give it its time for what waits."""
        waiting = self.transport.get_write_buffer_size()
        seconds = self._wait_seconds * (1 + waiting // _SIZE_PER_WAIT)
        self._unread_timer = self.loop.call_later(seconds, self.transport.abort)
        super().pause_writing()

    def resume_writing(self) -> None:
        """The client has taken everything."""
        self._stop_unread_timer()
        super().resume_writing()

    def _stop_unread_timer(self) -> None:
        """Forget what was waiting."""
        if self._unread_timer:
            self._unread_timer.cancel()
            self._unread_timer = None

    def _start_timer(self) -> None:
        """Give the client its time for a head, from now on."""
        message = f"the request did not come within {self._wait_seconds:g} s"
        refuse = partial(self._refuse, 408, message, "timeout")
        self._timer = self.loop.call_later(self._wait_seconds, refuse)

    def _stop_timer(self) -> None:
        """Forget the head that was watched."""
        self._head_size = 0
        if self._timer:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: int, message: str, code: str) -> None:
        """Send an error and close the connection."""
        self._stop_timer()
        body = json.dumps({"error": error_object(status, message, code)}).encode()
        retry = f"Retry-After: {RETRY_SECONDS}\r\n" if status == 503 else ""
        head = (
            f"HTTP/1.1 {status} {_PHRASES[status]}\r\nContent-Type: application/json\r\n"
            f"Content-Length: {len(body)}\r\n{retry}Connection: close\r\n\r\n"
        )
        self.transport.write(head.encode() + body)
        self.transport.close()
