"""The guard of the suite itself: what it lets through and what it stops."""

from __future__ import annotations

import socket

import pytest


def test_an_address_beyond_this_machine_is_refused(dialled: list[str]) -> None:
    with socket.socket() as outward, pytest.raises(OSError, match="offline"):
        outward.connect(("192.0.2.1", 80))
    assert dialled == ["socket.connect '192.0.2.1'"]
    dialled.clear()


def test_no_name_is_looked_up_beyond_this_machine(dialled: list[str]) -> None:
    with pytest.raises(OSError, match="offline"):
        socket.getaddrinfo("huggingface.co", 443)
    assert len(dialled) == 1
    dialled.clear()


def test_this_machine_is_reached() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with socket.create_connection(("localhost", port)) as there:
            assert there.getpeername()[1] == port
