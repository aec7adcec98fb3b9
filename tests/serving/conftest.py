from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient
from samples import ingest_with

from moli.models.encoders.load import load_encoder
from moli.serving.app import create_app
from moli.workspace import Workspace

ENCODER = "scripted:hash"
OPEN = {
    "guide.txt": "The server listens on port 7860. A backup runs every night at 02:30.",
    "手册.txt": "充满电需要两小时。本产品保修十八个月。",
}
SECRET = {"salaries.txt": "The director's salary is 90000 crowns. The server port is secret."}
FORBIDDEN = {"board.txt": "The board met in Turin about the server port and the salary."}


def fill(workspace: Workspace, texts: Mapping[str, str], *groups: str, **attributes: str) -> None:
    ingest_with(load_encoder(ENCODER), workspace, texts, *groups, **attributes)


Build = Callable[..., Workspace]


@pytest.fixture
def build(tmp_path: Path) -> Iterator[Build]:
    """Makes the workspace: a server in 'everyone' and 'hr', and documents for others as well."""
    made: list[Workspace] = []

    def make(**settings: Any) -> Workspace:
        lines = {"encoder": ENCODER, "confidence": 0.0, "groups": ["everyone", "hr"]} | settings
        toml = "\n".join(f"{name} = {_toml(value)}" for name, value in lines.items())
        (tmp_path / "moli.toml").write_text(toml, encoding="utf-8")
        workspace = Workspace.init(tmp_path)
        fill(workspace, OPEN, "everyone", team="support")
        fill(workspace, SECRET, "hr")
        fill(workspace, FORBIDDEN, "board")
        made.append(workspace)
        return workspace

    yield make
    for workspace in made:
        workspace.close()


@pytest.fixture
def client(build: Build) -> TestClient:
    return client_of(build())


def client_of(workspace: Workspace, **options: Any) -> TestClient:
    app = create_app(workspace, **options)
    return TestClient(app, base_url="http://127.0.0.1:7860", raise_server_exceptions=False)


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(map(_toml, value)) + "]"
    if isinstance(value, str):
        escaped = value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        return f'"{escaped}"'
    return str(value)
