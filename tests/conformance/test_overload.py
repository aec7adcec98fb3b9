"""A server with more texts to encode than it can: others are answered, and who has left is not."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
from conformance.served import BASE, TALK, serving
from fastapi import FastAPI

from moli.models.encoders.hashing import HashEncoder
from moli.models.protocols.encoder import Role
from moli.serving import library
from moli.serving.app import create_app
from moli.workspace import Workspace

QUEUE = 8
BODIES: dict[str, dict[str, Any]] = {
    "rerank": {"query": "the sea", "documents": [f"text {n}" for n in range(1000)]},
    "embeddings": {"input": [f"text {n}" for n in range(1000)]},
    "search": {"query": "the sea"},
    "ask": {"question": "How deep is the sea?"},
}


class SlowEncoder(HashEncoder):
    """An encoder that waits until it may go on, and counts the texts that it has encoded."""

    def __init__(self) -> None:
        super().__init__()
        self.may_go_on = threading.Event()
        self.may_go_on.set()
        self.texts = 0

    def encode(self, texts: Sequence[str], role: Role = "text") -> Any:
        self.may_go_on.wait(60)
        self.texts += len(texts)
        return super().encode(texts, role)


class Busy:
    """A server whose encoder can be stopped."""

    def __init__(self, address: str, app: FastAPI, encoder: SlowEncoder) -> None:
        self.address, self.encoder = address, encoder
        state = app.state
        self._queues = {"rerank": state.encoder_queue, "embeddings": state.encoder_queue,
                        "search": state.search_queue, "ask": state.ask_queue}  # fmt: skip

    def pending(self, path: str) -> int:
        """Requests that run or wait."""
        count: int = self._queues[path].pending
        return count

    def abandon(self, path: str) -> socket.socket:
        """Send a request; closing what is returned is to leave."""
        body, place = json.dumps(BODIES[path]).encode(), urlsplit(self.address)
        head = (
            f"POST /v1/{path} HTTP/1.1\r\nHost: {place.netloc}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        )
        connection = socket.create_connection((str(place.hostname), place.port or 80), timeout=60)
        connection.sendall(head.encode() + body)
        return connection

    def chat(self) -> httpx.Response:
        body = {"model": BASE, "messages": TALK, "max_tokens": 2}
        return httpx.post(f"{self.address}/v1/chat/completions", json=body, timeout=60)


@pytest.fixture
def busy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Busy]:
    encoder = SlowEncoder()
    monkeypatch.setattr(library, "load_workspace_encoder", lambda workspace: encoder)
    toml = f'encoder = "scripted:hash"\nmodel = "{BASE}"\nqueue = {QUEUE}\n'
    (tmp_path / "moli.toml").write_text(toml, encoding="utf-8")
    with Workspace.init(tmp_path) as workspace:
        app = create_app(workspace)
        with serving(workspace, app) as address:
            encoder.may_go_on.clear()
            yield Busy(address, app, encoder)
            encoder.may_go_on.set()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.slow
@pytest.mark.parametrize("path", ["rerank", "embeddings"])
def test_chat_is_answered_beside_texts_and_who_leaves_costs_one_step(busy: Busy, path: str) -> None:
    before = busy.encoder.texts
    connections = [busy.abandon(path) for _ in range(QUEUE)]
    wait_until(lambda: busy.pending(path) == QUEUE)
    assert busy.chat().status_code == 200  # while no text is encoded at all
    for connection in connections:
        connection.close()
    wait_until(lambda: busy.pending(path) == 1)  # the one whose step is under way
    busy.encoder.may_go_on.set()
    wait_until(lambda: busy.pending(path) == 0)
    encoded = busy.encoder.texts - before
    assert 0 < encoded < 1000
    answer = httpx.post(f"{busy.address}/v1/embeddings", json={"input": "one more"}, timeout=60)
    assert answer.status_code == 200
    assert busy.encoder.texts - before == encoded + 1  # nothing else went on


@pytest.mark.slow
@pytest.mark.parametrize("path", BODIES)
def test_a_full_queue_is_told_and_empties(busy: Busy, path: str) -> None:
    statuses: list[int] = []

    def send() -> None:
        answer = httpx.post(f"{busy.address}/v1/{path}", json=BODIES[path], timeout=60)
        if answer.status_code == 429:
            assert int(answer.headers["retry-after"]) > 0
            assert answer.json()["error"]["type"] == "rate_limit_error"
        statuses.append(answer.status_code)

    count = 64
    with ThreadPoolExecutor(count) as pool:
        for _ in range(count):
            pool.submit(send)
        wait_until(lambda: 429 in statuses)  # while the others wait
        assert set(statuses) == {429}
        assert httpx.get(f"{busy.address}/v1/documents", timeout=60).status_code == 200
        assert busy.chat().status_code == 200
        busy.encoder.may_go_on.set()
    assert set(statuses) == {200, 429}
    assert statuses.count(200) > QUEUE
    answer = httpx.post(f"{busy.address}/v1/{path}", json=BODIES[path], timeout=60)
    assert answer.status_code == 200
