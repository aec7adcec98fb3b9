"""Fixtures of the whole suite, and its promise: no test reaches beyond this machine."""

from __future__ import annotations

import ipaddress
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings
from samples import ENCODER, ingest

from moli.models.encoders.hashing import HashEncoder
from moli.records.ingestion import FileReport
from moli.retrieval.search import Retriever
from moli.workspace import Workspace

# How long an example takes says more about what else the machine is doing than about the code.
settings.register_profile("moli", deadline=None)
settings.load_profile("moli")

_attempts: list[str] = []


class OfflineError(OSError):
    """A test reached for the network."""


def _is_local(host: object) -> bool:
    if host in (None, "", "localhost", b"localhost"):
        return True
    text = host.decode() if isinstance(host, bytes) else str(host)
    try:
        return ipaddress.ip_address(text.partition("%")[0]).is_loopback
    except ValueError:
        return False


def _block(event: str, arguments: tuple[Any, ...]) -> None:
    if event in ("socket.connect", "socket.sendto", "socket.sendmsg"):
        address = arguments[1]
        # Unix sockets have a path for an address, netlink ones have numbers.
        if not isinstance(address, tuple) or not isinstance(address[0], str | bytes):
            return
        host: object = address[0]
    elif event in ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr"):
        host = arguments[0]
    else:
        return
    if not _is_local(host):
        _attempts.append(f"{event} {host!r}")
        raise OfflineError(f"tests run offline, and this one reached for {host!r}")


@pytest.fixture(scope="session", autouse=True)
def offline() -> None:
    """Refuse every connection but to this machine, for as long as the process lives."""
    sys.addaudithook(_block)


@pytest.fixture(autouse=True)
def dialled(offline: None, request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """Attempts of a test to reach the network. There must be none, even if the code handles errors.

    A test that connects on purpose takes this list and empties it.
    """
    _attempts.clear()
    yield _attempts
    assert not _attempts, f"{request.node.name} reached beyond this machine: {_attempts}"


@pytest.fixture(autouse=True)
def plain_environment(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """No setting comes from the shell that runs the tests, and no model from its machine."""
    for name in list(os.environ):
        if name.startswith("MOLI_") or name == "OPENAI_API_KEY":
            monkeypatch.delenv(name)
    monkeypatch.setenv("MOLI_MODELS", str(tmp_path_factory.getbasetemp() / "models"))


@pytest.fixture(autouse=True)
def one_thread(request: pytest.FixtureRequest) -> Iterator[None]:
    """Small models are trained by one thread: two would mostly wait for each other."""
    if "training" not in request.path.parts:
        yield
        return
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def write_settings(folder: Path, **settings: Any) -> None:
    """A `moli.toml` with the hash encoder and `settings`."""
    values = {"encoder": ENCODER.name} | settings
    # A Python literal of text, number or list is a TOML one too, given double quotes.
    lines = [f"{name} = {_toml(value)}" for name, value in values.items()]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "moli.toml").write_text("\n".join(lines), encoding="utf-8")


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return f"[{', '.join(map(_toml, value))}]"
    return f'"{value}"' if isinstance(value, str) else str(value)


Make = Callable[..., Workspace]


@pytest.fixture
def make_workspace(tmp_path: Path) -> Iterator[Make]:
    """Makes a workspace below the test's folder, with the hash encoder and given settings."""
    made: list[Workspace] = []

    def make(name: str = "workspace", **settings: Any) -> Workspace:
        write_settings(tmp_path / name, **settings)
        made.append(Workspace.init(tmp_path / name))
        return made[-1]

    yield make
    for workspace in made:
        workspace.close()


@pytest.fixture
def workspace(make_workspace: Make) -> Workspace:
    """A new workspace."""
    return make_workspace()


@pytest.fixture
def encoder() -> HashEncoder:
    return ENCODER


@pytest.fixture
def retriever(workspace: Workspace, encoder: HashEncoder) -> Retriever:
    return Retriever(workspace, encoder)


@pytest.fixture
def fill(workspace: Workspace) -> Callable[..., list[FileReport]]:
    """Adds texts to the test's workspace: `fill({source: text}, *groups, **attributes)`."""
    return lambda texts, *groups, **attributes: ingest(workspace, texts, *groups, **attributes)
