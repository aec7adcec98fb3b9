from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterable, Iterator
from dataclasses import fields
from typing import Any

import pytest
from docs.pages import ROOT, blocks
from fastapi.testclient import TestClient

import moli
from moli.models.encoders.load import load_workspace_encoder
from moli.records.exchanges import Exchange
from moli.retrieval.ingest import Ingester
from moli.serving.app import create_app
from moli.workspace import Workspace

TEXTS = {
    "backup.txt": "A backup runs every night at 02:30. Backups are kept for 35 days.\n",
    "office.txt": "The office opens at 8:30. Receipts are handed in within 30 days of a trip.\n",
}
# These differ from run to run or from machine to machine; their type is compared all the same.
CHANGING = {"source", "created_at", "added_at", "created", "content", "cached_tokens"}
# Of an answer, an exchange, a response and so on; a hash has more digits.
ID = re.compile(r"(?<![0-9a-f])[0-9a-f]{32}(?![0-9a-f])")
Example = tuple[str, str, str]

each_language = pytest.mark.parametrize("language", ["en", "zh"])


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    folder = tmp_path_factory.mktemp("api")
    for name, text in TEXTS.items():
        (folder / name).write_text(text, encoding="utf-8")
    rows = [
        {"text": f"{text} {number}", "label": label}
        for number in range(12)
        for text, label in (
            ("Where is my parcel?", "delivery"),
            ("The invoice is wrong.", "invoice"),
        )
    ]
    (folder / "tickets.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with Workspace.init(folder) as workspace:
        moli.tune(
            task="classification",
            data=folder / "tickets.jsonl",
            epochs=0,
            name="tickets",
            workspace=workspace,
        )
        encoder = load_workspace_encoder(workspace)
        list(Ingester(workspace, encoder).add_files([folder / name for name in TEXTS]))
        yield TestClient(create_app(workspace), base_url="http://127.0.0.1:7860")


def page_of(language: str) -> str:
    return (ROOT / "docs" / language / "api.md").read_text(encoding="utf-8")


def examples(page: str) -> list[Example]:
    """(address, body, response) of each curl command and the JSON after it."""
    found = list(blocks(page))
    pairs = zip(found[::2], found[1::2], strict=True)
    return [(*_request(command), response) for (_, command), (_, response) in pairs]


def _request(command: str) -> tuple[str, str]:
    words = shlex.split(command.replace("\\\n", " "))
    assert words[0] == "curl"
    return words[1], words[words.index("-d") + 1] if "-d" in words else ""


@pytest.mark.slow
@each_language
def test_the_examples_are_true(client: TestClient, language: str) -> None:
    ids: dict[str, str] = {}  # as the page has them to as they are here

    def here(text: str) -> str:
        return ID.sub(lambda found: ids.get(found[0], found[0]), text)

    told = examples(page_of(language))
    # Every command, so that none is left out because its response is missing.
    assert len(told) == len(re.findall(r"^curl ", page_of(language), re.MULTILINE)) > 0
    for address, body, response in told:
        method = "POST" if body else "GET"
        headers = {"Content-Type": "application/json"}
        reply = client.request(method, here(address), content=here(body), headers=headers)
        for shown, real in zip(ID.findall(response), ID.findall(reply.text), strict=True):
            ids.setdefault(shown, real)  # one that is known already has to be the same here
        actual, expected = reply.json(), json.loads(here(response))
        if address.endswith("/feedback"):
            expected["id"] = actual["id"]  # counts what was said before, for another language
        assert steady(actual, expected) == steady(expected, expected), address


@each_language
def test_every_endpoint_is_told(client: TestClient, language: str) -> None:
    described = client.get("/v1/openapi.json").json()["paths"]
    there = {(method.upper(), path) for path, methods in described.items() for method in methods}
    told = re.findall(r"\b(GET|POST|DELETE) (/[\w/{}]+)", page_of(language))

    def unnamed(found: Iterable[tuple[str, str]]) -> set[tuple[str, str]]:
        return {(method, re.sub(r"{\w+}", "{}", path)) for method, path in found}

    assert unnamed(told) == unnamed(there)


@each_language
def test_the_tables_of_exchanges_and_metrics_are_what_there_is(
    client: TestClient, language: str
) -> None:
    page = page_of(language).partition("<!-- fields -->")[0]
    rows = re.findall(r"^\| `(\w+)` \|", page, re.MULTILINE)
    metrics = [each for each in rows if each.startswith("moli_")]
    assert rows[: -len(metrics)] == [each.name for each in fields(Exchange)]
    told = re.findall(r"^# TYPE (\w+)", client.get("/metrics").text, re.MULTILINE)
    assert set(metrics) == {each for each in told if not each.endswith("_created")}


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
