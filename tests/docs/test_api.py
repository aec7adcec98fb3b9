from __future__ import annotations

import json
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from docs.pages import ROOT, blocks
from fastapi.testclient import TestClient

from moli.models.embedding import load_encoder
from moli.retrieval.ingest import Ingest
from moli.serving.app import create_app
from moli.workspace import Workspace

TEXTS = {
    "backup.txt": "A backup runs every night at 02:30. Backups are kept for 35 days.\n",
    "office.txt": "The office opens at 8:30. Receipts are handed in within 30 days of a trip.\n",
}
# These differ from run to run or from machine to machine; their type is compared all the same.
CHANGING = {"source", "trace_id", "created_at", "added_at", "created", "content", "cached_tokens"}
Example = tuple[str, str, Any]


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("api")
    for name, text in TEXTS.items():
        (folder / name).write_text(text, encoding="utf-8")
    with Workspace.init(folder) as workspace:
        encoder = load_encoder(workspace.settings.encoder)
        list(Ingest(workspace, encoder).files([folder / name for name in TEXTS]))
        yield TestClient(create_app(workspace), base_url="http://127.0.0.1:7860")


def examples(page: Path) -> list[Example]:
    """(address, body, response) of each curl command and the JSON after it."""
    found = list(blocks(page.read_text(encoding="utf-8")))
    pairs = zip(found[::2], found[1::2], strict=True)
    return [(*_request(command), json.loads(response)) for (_, command), (_, response) in pairs]


def _request(command: str) -> tuple[str, str]:
    words = shlex.split(command.replace("\\\n", " "))
    assert words[0] == "curl"
    return words[1], words[words.index("-d") + 1] if "-d" in words else ""


@pytest.mark.parametrize("language", ["en", "zh"])
def test_the_examples_are_true(client: TestClient, language: str) -> None:
    trace = ""
    told = examples(ROOT / "docs" / language / "api.md")
    assert len(told) == 8
    for address, body, expected in told:
        if "/traces/" in address:
            address, expected["id"] = address.rpartition("/")[0] + f"/{trace}", trace
        headers = {"Content-Type": "application/json"}
        reply = client.post(address, content=body, headers=headers) if body else client.get(address)
        actual = reply.json()
        if "/chat/" in address:
            expected["id"] = actual["id"]
        trace = actual.get("trace_id", trace) if isinstance(actual, dict) else trace
        assert steady(actual, expected) == steady(expected, expected), address


def steady(value: Any, example: Any) -> Any:
    """A response as far as it can be compared; what an example leaves out of a list is left out."""
    if isinstance(value, dict):
        seen = example if isinstance(example, dict) else {}
        return {
            key: type(each).__name__ if key in CHANGING else steady(each, seen.get(key))
            for key, each in value.items()
        }
    if isinstance(value, list):
        return [steady(each, example[0]) for each in value] if example else []
    return "number" if isinstance(value, float) else value
