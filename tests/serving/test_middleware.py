from __future__ import annotations

import asyncio
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from fastapi import FastAPI, Request
from fastapi.testclient import TestClient
from serving.conftest import Build, client_of
from starlette.websockets import WebSocketDisconnect

from moli.serving.audio import LARGER_BODIES
from moli.serving.errors import add_error_handlers
from moli.serving.middleware import MAX_BODY, SecurityMiddleware, ShutdownMiddleware


@pytest.mark.parametrize(
    "host", ["127.0.0.1", "127.0.0.1:7860", "localhost:7860", "LOCALHOST", "[::1]:7860"]
)
def test_the_loopback_names_are_answered(client: TestClient, host: str) -> None:
    assert client.get("/health", headers={"host": host}).status_code == 200


@pytest.mark.slow
@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:7860", "127.0.0.1.evil.example", "localhost.evil.example",
     "localhost@evil.example", "192.168.1.7", "", "[", "[::1", "0x7f.1"],
)  # fmt: skip
def test_a_rebound_name_is_refused_on_every_address(client: TestClient, host: str) -> None:
    for path in ("/health", "/v1/documents", "/v1/status", "/"):
        response = client.get(path, headers={"host": host})
        assert response.status_code == 400
        assert response.json()["error"]["code"] == "host"


def test_the_address_the_server_was_told_to_listen_on_is_answered(build: Build) -> None:
    workspace = build()
    workspace.keys.add("anna")
    client = client_of(workspace, host="moli.team.example")
    assert client.get("/health", headers={"host": "moli.team.example:80"}).status_code == 200
    assert client.get("/health", headers={"host": "other.example"}).status_code == 400


def test_a_server_on_every_address_answers_to_numbers_but_not_to_names(build: Build) -> None:
    workspace = build()
    workspace.keys.add("anna")
    client = client_of(workspace, host="0.0.0.0")
    assert client.get("/health", headers={"host": "192.168.1.7:7860"}).status_code == 200
    assert client.get("/health", headers={"host": "evil.example"}).status_code == 400


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "http://127.0.0.1:9999"])
def test_a_page_of_another_origin_is_refused(client: TestClient, origin: str) -> None:
    for response in (
        client.post("/v1/ask", json={"question": "why"}, headers={"origin": origin}),
        client.get("/v1/documents", headers={"origin": origin}),
    ):
        assert response.status_code == 403
        assert response.json()["error"]["code"] == "origin"


def test_a_page_of_this_server_is_answered(client: TestClient) -> None:
    headers = {"origin": "http://127.0.0.1:7860", "host": "127.0.0.1:7860"}
    assert client.get("/v1/documents", headers=headers).status_code == 200


def test_a_websocket_from_another_origin_is_refused(client: TestClient) -> None:
    with (
        pytest.raises(WebSocketDisconnect) as refused,
        client.websocket_connect("/_nicegui_ws/", headers={"origin": "http://evil.example"}),
    ):
        pass
    assert refused.value.code == 1008


def test_every_response_forbids_what_comes_from_elsewhere(client: TestClient) -> None:
    for response in (
        client.get("/health"),
        client.get("/nothing"),
        client.get("/health", headers={"host": "evil.example"}),
        client.post("/v1/ask", json={"question": "Which port?"}),
    ):
        policy = response.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "connect-src 'self'" in policy
        assert "http" not in policy
        assert "*" not in policy
        assert response.headers["x-content-type-options"] == "nosniff"


def test_answers_are_not_kept_in_caches(client: TestClient) -> None:
    assert client.get("/v1/documents").headers["cache-control"] == "no-store"


SOUND = "/v1/audio/transcriptions"


@pytest.fixture
def counting() -> TestClient:
    """An app behind the guard that tells how long a body is."""
    app = FastAPI()

    async def count(request: Request) -> int:
        return len(await request.body())

    app.post(SOUND)(count)
    app.post("/other")(count)
    app.add_middleware(SecurityMiddleware, host="127.0.0.1", larger_bodies=LARGER_BODIES)
    add_error_handlers(app)
    return TestClient(app, base_url="http://127.0.0.1", raise_server_exceptions=False)


def parts(size: int) -> Iterator[bytes]:
    """A body whose size is not told beforehand."""
    whole, rest = divmod(size, 1 << 16)
    yield from (b"x" * (1 << 16) for _ in range(whole))
    yield b"x" * rest


@pytest.mark.parametrize(("path", "most"), [("/other", MAX_BODY), (SOUND, 26 << 20)])
def test_sound_may_be_larger_than_other_bodies(counting: TestClient, path: str, most: int) -> None:
    assert LARGER_BODIES.get(path, MAX_BODY) == most
    for size in (0, most):
        for body in (b"x" * size, parts(size)):
            assert counting.post(path, content=body).json() == size
    for body in (b"x" * (most + 1), parts(most + 1)):
        answer = counting.post(path, content=body)
        assert answer.status_code == 413
        assert f"more than {most} bytes" in answer.json()["error"]["message"]


@pytest.mark.parametrize(("path", "read"), [("/other", 1 << 20), (SOUND, 0)])
def test_sound_is_not_read_for_those_who_may_not_come_in(path: str, read: int) -> None:
    """A body that is read ahead takes memory, whoever sends it."""
    taken = 0
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        nonlocal taken
        taken += 1 << 16
        return {"type": "http.request", "body": b"x" * (1 << 16), "more_body": taken < 1 << 20}

    async def send(message: Any) -> None:
        sent.append(message)

    async def closed(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 401, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    headers = [(b"host", b"127.0.0.1")]
    scope = {"type": "http", "method": "POST", "path": path, "headers": headers}
    guarded = SecurityMiddleware(closed, "127.0.0.1", LARGER_BODIES)(scope, receive, send)
    with ThreadPoolExecutor(1) as other:  # in this thread a browser's loop may be running
        other.submit(asyncio.run, guarded).result()
    assert (sent[0]["status"], taken) == (401, read)


def test_a_request_that_a_stopping_server_cancels_is_told_to_come_back() -> None:
    sent: list[Any] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    async def endless(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.Event().wait()

    async def stop() -> None:
        scope = {"type": "http", "headers": []}
        task = asyncio.create_task(ShutdownMiddleware(endless)(scope, receive, send))
        await asyncio.sleep(0)
        task.cancel()
        await task

    with ThreadPoolExecutor(1) as other:
        other.submit(asyncio.run, stop()).result()
    assert sent[0]["status"] == 503
    assert b"retry-after" in dict(sent[0]["headers"])
    assert b"the server is stopping" in sent[1]["body"]
