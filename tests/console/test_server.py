from __future__ import annotations

import json
import signal
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from console.conftest import make_workspace, serving

from moli.console.server import serve
from moli.records.errors import WorkspaceError
from moli.workspace import Workspace


@pytest.fixture
def taken() -> Iterator[int]:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        yield other.getsockname()[1]


def test_the_address_is_told_when_the_server_answers_there(address: str) -> None:
    assert httpx.get(f"{address}/health").json()["status"] == "ok"


@pytest.mark.slow
def test_an_interrupted_server_ends_quietly(workspace: Workspace) -> None:
    with serving(workspace) as (address, process):
        assert httpx.get(address).status_code == 200
        process.send_signal(signal.SIGINT)
        _, errors = process.communicate(timeout=20)
        assert process.returncode == 0
        assert "Traceback" not in errors


def test_a_port_in_use_is_an_error_that_says_what_to_do(workspace: Workspace, taken: int) -> None:
    with pytest.raises(WorkspaceError, match=r"in use.*--port 0"):
        serve(workspace, "127.0.0.1", taken, lambda _: None)


def test_a_host_that_is_none_is_an_error(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(WorkspaceError, match="no such address"):
        serve(workspace, "no-such-host.invalid", 0, lambda _: None)


@pytest.mark.slow
def test_a_server_that_is_stopped_completes_what_is_under_way(tmp_path: Path) -> None:
    with make_workspace(tmp_path / "drained", model="builtin:starter") as workspace:
        body = {"model": "", "prompt": "The sea", "max_tokens": 120, "stream": True, "seed": 1}
        with serving(workspace) as (address, process):
            url = f"{address}/v1/completions"
            with httpx.stream("POST", url, json=body, timeout=60) as answer:
                lines = answer.iter_lines()
                next(lines)
                process.terminate()
                rest = [line for line in lines if line]
            assert rest[-1] == "data: [DONE]"
            assert sum('"text"' in line for line in rest) > 50
            assert process.wait(20) == 0
        with pytest.raises(httpx.ConnectError):
            httpx.get(f"{address}/health")


@pytest.mark.slow
def test_requests_are_logged_without_their_words(tmp_path: Path) -> None:
    workspace = make_workspace(tmp_path / "logged")
    with workspace, serving(workspace) as (address, process):
        httpx.post(f"{address}/v1/ask", json={"question": "What of the gremlin?"})
        process.terminate()
        _, log = process.communicate(timeout=20)
    lines = [json.loads(line) for line in log.splitlines() if line.startswith("{")]
    [line] = [each for each in lines if each["route"] == "/v1/ask"]
    assert (line["event"], line["method"], line["status"], line["key"]) == (
        "request", "POST", 200, ""
    )  # fmt: skip
    assert "gremlin" not in log


@pytest.mark.slow
def test_a_visitor_of_a_server_with_keys_signs_in(chromium: Any, tmp_path: Path) -> None:
    with make_workspace(tmp_path / "keyed") as workspace:
        secret = workspace.keys.add("anna", groups=["everyone"]).secret
        board = workspace.keys.add("ben", groups=["board"]).secret
        with serving(workspace) as (address, _):
            for key, sees in ((secret, "gremlin"), (board, "board")):
                context = chromium.new_context(locale="en-US")
                page = context.new_page()
                page.goto(address)
                assert page.url == f"{address}/sign-in"
                page.fill("input[name=key]", "moli_wrong")
                page.click("button")
                page.wait_for_selector(".notice p")
                page.fill("input[name=key]", key)
                page.click("button")
                page.wait_for_selector(".question input")
                page.wait_for_selector(".documents .title")
                titles = " ".join(page.locator(".documents .title").all_inner_texts())
                assert sees in titles and ("board" in titles) == (sees == "board")
                cookie = context.cookies()[0]
                assert cookie["httpOnly"] and cookie["sameSite"] == "Lax"
                context.close()
