"""Connections that are slow, too many or endless, to a live server."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from threading import Event
from urllib.parse import urlsplit

import httpx
import pytest
from conformance.served import serving
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from moli.workspace import Workspace

HEAD = b"GET /health HTTP/1.1\r\nHost: 127.0.0.1\r\n"
POST = b"POST /v1/ask HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
CONNECTIONS = 4


@pytest.fixture(scope="module")
def impatient(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server that waits for a moment only, with few connections."""
    folder: Path = tmp_path_factory.mktemp("impatient")
    toml = f'encoder = "scripted:hash"\nrequest_seconds = 0.3\nmax_connections = {CONNECTIONS}\n'
    (folder / "moli.toml").write_text(toml, encoding="utf-8")
    with Workspace.init(folder) as workspace, serving(workspace) as address:
        yield address


def connected(address: str, data: bytes = b"") -> socket.socket:
    place = urlsplit(address)
    connection = socket.create_connection((str(place.hostname), place.port or 80), timeout=20)
    connection.sendall(data)
    return connection


def answer(connection: socket.socket) -> bytes:
    """All that is received until the server closes the connection."""
    parts = []
    with connection, contextlib.suppress(ConnectionError):
        while part := connection.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)


@pytest.mark.slow
@pytest.mark.parametrize(
    "data", [b"", b"GET", HEAD, POST + b"Content-Length: 9\r\n\r\n{", POST + b"Content-Len"]
)
def test_who_sends_no_whole_request_is_told_and_cut_off(impatient: str, data: bytes) -> None:
    received = answer(connected(impatient, data))
    assert received.startswith(b"HTTP/1.1 408 ")
    assert b'"code": "timeout"' in received or b'"code":"timeout"' in received


@pytest.mark.slow
def test_a_head_that_grows_slowly_is_cut_off(impatient: str) -> None:
    connection = connected(impatient, HEAD)
    with pytest.raises(ConnectionError):
        while True:  # until the server has closed it
            connection.sendall(b"X-More: and more\r\n")
            connection.settimeout(0.05)
            with contextlib.suppress(TimeoutError):
                if not connection.recv(1 << 16):
                    raise ConnectionResetError
    connection.close()


@pytest.mark.slow
def test_endless_headers_are_cut_off(impatient: str) -> None:
    connection = connected(impatient, HEAD)
    with contextlib.suppress(ConnectionError):
        for _ in range(1000):
            connection.sendall(b"X-More: " + b"x" * 4096 + b"\r\n")
    connection.close()
    assert httpx.get(f"{impatient}/health").status_code == 200


@pytest.mark.slow
def test_one_connection_too_many_is_told_to_come_back(impatient: str) -> None:
    held = [connected(impatient, HEAD) for _ in range(CONNECTIONS)]
    refused = answer(connected(impatient))
    assert refused.startswith(b"HTTP/1.1 503 ")
    assert b"Retry-After: " in refused
    for connection in held:
        assert answer(connection).startswith(b"HTTP/1.1 408 ")
    assert httpx.get(f"{impatient}/health").status_code == 200


@pytest.mark.slow
def test_who_does_not_read_is_cut_off(tmp_path: Path) -> None:
    (tmp_path / "moli.toml").write_text(
        f'encoder = "scripted:hash"\nrequest_seconds = 0.3\nmax_connections = {CONNECTIONS}\n'
    )
    ended = Event()

    async def endless() -> AsyncIterator[bytes]:
        try:
            while True:
                yield b"x" * 65536
                await asyncio.sleep(0)
        finally:
            ended.set()

    app = FastAPI()
    app.add_api_route("/endless", lambda: StreamingResponse(endless()))
    app.add_api_route("/health", lambda: "up")
    head = b"GET /endless HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n"
    with (
        Workspace.init(tmp_path) as workspace,
        serving(workspace, app) as address,
        contextlib.ExitStack() as held,
    ):
        for _ in range(CONNECTIONS):
            held.enter_context(connected(address, head))
        assert ended.wait(20)
        deadline = time.monotonic() + 20
        while httpx.get(f"{address}/health").status_code == 503:
            assert time.monotonic() < deadline
            time.sleep(0.05)
        with connected(address, head) as reader:  # who reads is served for longer than that
            begun = time.monotonic()
            while time.monotonic() < begun + 1:
                assert reader.recv(1 << 16)


@pytest.mark.slow
def test_a_connection_that_is_used_again_has_its_time_again(impatient: str) -> None:
    with connected(impatient) as connection:
        for _ in range(3):
            connection.sendall(HEAD + b"\r\n")
            assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 ")
            connection.settimeout(0.4)  # longer than a request may take
            with pytest.raises(TimeoutError):
                connection.recv(1)
            connection.settimeout(20)


@pytest.mark.parametrize("path", ["/health", "/v1/models", "/v1/documents", "/v1/nothing"])
def test_head_is_get_without_a_body(impatient: str, path: str) -> None:
    whole = httpx.get(impatient + path)
    head = httpx.head(impatient + path)
    assert (head.status_code, head.content) == (whole.status_code, b"")
    for name in ("content-type", "content-length"):
        assert head.headers[name] == whole.headers[name]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [("PUT", "/v1/ask", "POST"), ("HEAD", "/v1/ask", "POST"), ("POST", "/health", "GET, HEAD"),
     ("DELETE", "/v1/feedback", "GET, HEAD, POST"), ("OPTIONS", "/v1/models", "GET, HEAD"),
     ("POST", "/v1/responses/resp_1", "DELETE, GET, HEAD")],
)  # fmt: skip
def test_another_method_is_told_which_there_are(
    impatient: str, method: str, path: str, allowed: str
) -> None:
    refused = httpx.request(method, impatient + path)
    assert (refused.status_code, refused.headers["allow"]) == (405, allowed)


def test_every_response_has_an_id_that_of_an_answer_its_traces(impatient: str) -> None:
    for path in ("/health", "/v1/nothing"):
        ids = {httpx.get(impatient + path).headers["x-request-id"] for _ in range(2)}
        assert len(ids) == 2
    asked = httpx.post(f"{impatient}/v1/ask", json={"question": "Which port?"})
    assert asked.headers["x-request-id"] == asked.json()["trace_id"]
    own = httpx.get(f"{impatient}/health", headers={"x-client-request-id": "mine-1"})
    assert own.headers["x-client-request-id"] == "mine-1"
