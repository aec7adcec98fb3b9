"""A server under more load than it has capacity for, and with invalid requests."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import openai
import pytest
from conformance.served import BASE, TALK, serving
from openai import OpenAI

from moli.workspace import Workspace

ROWS = 16  # that a base writes at once


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a server at which one answer may wait."""
    folder: Path = tmp_path_factory.mktemp("narrow")
    toml = f'encoder = "scripted:hash"\nmodel = "{BASE}"\nqueue = 1\n'
    (folder / "moli.toml").write_text(toml, encoding="utf-8")
    with Workspace.init(folder) as workspace, serving(workspace) as address:
        yield address


@pytest.mark.slow
def test_a_full_queue_is_told_and_empties(narrow: str) -> None:
    client = OpenAI(base_url=f"{narrow}/v1", api_key="none", max_retries=0)
    options: Any = {"model": BASE, "messages": TALK, "temperature": 2, "seed": 1}
    streams: list[Any] = []

    def begin() -> None:
        create = client.chat.completions.create
        streams.append(create(**options, max_tokens=1500, stream=True, timeout=60))

    with pytest.raises(openai.RateLimitError) as refused:
        for _ in range(ROWS + 8):  # some may end before the others begin
            begin()
    assert int(refused.value.response.headers["retry-after"]) > 0
    assert refused.value.type == "rate_limit_error"
    for stream in streams:
        stream.close()
    # The client's own retries, which heed Retry-After, get through.
    patient = client.with_options(max_retries=5)
    assert patient.chat.completions.create(**options, max_tokens=2).choices


def test_bodies_that_are_too_large_are_refused_unread(narrow: str) -> None:
    large = {"model": BASE, "messages": [{"role": "user", "content": "x" * (1 << 21)}]}
    answer = httpx.post(f"{narrow}/v1/chat/completions", json=large, timeout=60)
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "request_too_large")


@pytest.mark.slow
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'"x"', b"\xff\xfe", b"{}" * 9, b'{"model": NaN}',
     b'{"messages": [{"role": "user", "content": "\\ud800"}]}', b"[" * 5000,
     b'{"messages": [{"role": "user", "content": {"a": {}}}]}',
     b'{"messages": [{"role": "user", "content": "x"}], "n": 1e999}',
     b'{"messages": [{"role": "user", "content": "x"}], "seed": ' + b"9" * 500 + b"}"],
    ids=range(13),
)  # fmt: skip
@pytest.mark.parametrize("path", ["chat/completions", "completions", "responses", "feedback"])
def test_what_is_no_request_is_told_so(narrow: str, path: str, body: bytes) -> None:
    headers = {"content-type": "application/json"}
    answer = httpx.post(f"{narrow}/v1/{path}", content=body, headers=headers, timeout=60)
    assert answer.status_code in (400, 404, 413), answer.text
    assert {"message", "type", "param", "code"} == set(answer.json()["error"])


def test_connections_that_break_off_do_no_harm(narrow: str) -> None:
    place = urlsplit(narrow)
    assert place.hostname and place.port
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {place.netloc}\r\nContent-Length: 400\r\n"
    for sent in (b"", head.encode(), head.encode() + b"\r\n{", b"\x00\x01\x02\r\n\r\n"):
        with socket.create_connection((place.hostname, place.port), timeout=10) as broken:
            broken.sendall(sent)
    assert httpx.get(f"{narrow}/health", timeout=10).json()["status"] == "ok"


@pytest.mark.slow
def test_a_slow_reader_holds_nobody_up(narrow: str) -> None:
    place = urlsplit(narrow)
    slow = http.client.HTTPConnection(str(place.hostname), place.port, timeout=60)
    body = f'{{"model": "{BASE}", "prompt": "The sea", "max_tokens": 900, "stream": true}}'
    slow.request("POST", "/v1/completions", body, {"content-type": "application/json"})
    reader = slow.getresponse()  # and its body is not read
    client = OpenAI(base_url=f"{narrow}/v1", api_key="none", max_retries=0)
    done = threading.Event()

    def ask() -> None:
        while not done.is_set():
            # What an earlier test has asked for may still wait.
            with contextlib.suppress(openai.RateLimitError):
                client.completions.create(model=BASE, prompt="The sea", max_tokens=3)
                done.set()

    thread = threading.Thread(target=ask)
    thread.start()
    assert done.wait(30)
    thread.join()
    assert reader.read().endswith(b"data: [DONE]\n\n")
    slow.close()
