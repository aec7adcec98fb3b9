from __future__ import annotations

import signal
import socket
from collections.abc import Iterator

import httpx
import pytest
from console.conftest import serving

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
    assert httpx.get(f"{address}/healthz").json() == {"status": "ok"}


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
