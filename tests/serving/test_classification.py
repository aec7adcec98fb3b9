"""POST /v1/classify against `moli.predict` and `moli.classify` with the same models."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI
from starlette.testclient import TestClient

import moli
from moli.models.encoders.load import load_encoder
from moli.serving import classification
from moli.serving.concurrency import WorkQueue
from moli.serving.encoders import Encoders
from moli.serving.errors import add_error_handlers
from moli.workspace import Workspace

TEXTS = ["房间很脏，服务很差", "早餐丰富，位置方便", "没见过的话", *(f"很好{n}" for n in range(40))]


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A workspace with a classifier of three classes, and one with several labels."""
    home = tmp_path_factory.mktemp("classify")
    words = {"good": "很好", "bad": "很差", "dirty": "很脏"}
    rows = [
        {"text": f"{'房间服务早餐'[2 * (n % 3) : 2 * (n % 3) + 2]}{word}，{n}", "label": label}
        for n in range(20)
        for label, word in words.items()
    ]
    (home / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    with Workspace.init(home) as workspace:
        moli.tune(
            task="classification", data=home / "rows.jsonl", name="reviews", workspace=workspace
        )
    return home


@pytest.fixture(scope="module")
def client(home: Path) -> Iterator[TestClient]:
    with Workspace.open(home) as workspace:
        app = FastAPI()
        app.state.encoders = Encoders(workspace, load_encoder("scripted:8"))
        app.state.encoder_queue = WorkQueue(1, 64)
        app.include_router(classification.router)
        add_error_handlers(app)
        yield TestClient(app, raise_server_exceptions=False)


def post(client: TestClient, **body: Any) -> Any:
    answer = client.post("/v1/classify", json=body)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_labels_and_probabilities_are_those_of_predict(client: TestClient, home: Path) -> None:
    answer = post(client, model="reviews", input=TEXTS, top_k=3)
    predicted = moli.predict("reviews", *TEXTS, workspace=home)
    classified = moli.classify("reviews", *TEXTS, workspace=home, top_k=3)
    assert [row["index"] for row in answer["data"]] == list(range(len(TEXTS)))
    for row, one, other in zip(answer["data"], predicted, classified, strict=True):
        assert row["label"] == one["label"] == other["label"]
        assert row["probability"] == pytest.approx(one["probability"], abs=1e-6)
        assert row["probabilities"][0] == {
            "label": row["label"],
            "probability": row["probability"],
        }
        values = [each["probability"] for each in row["probabilities"]]
        assert values == sorted(values, reverse=True)
        assert sum(values) == pytest.approx(1, abs=1e-5)
        assert {each["label"] for each in row["probabilities"]} == {"good", "bad", "dirty"}
    assert answer["usage"]["prompt_tokens"] == answer["usage"]["total_tokens"] > len(TEXTS)


def test_a_single_text_and_fewer_labels(client: TestClient) -> None:
    answer = post(client, model="reviews", input=TEXTS[0], top_k=1)
    assert len(answer["data"]) == 1
    assert len(answer["data"][0]["probabilities"]) == 1
    assert answer["model"] == "reviews"
    assert answer["id"].startswith("classify-")


@pytest.mark.parametrize(
    ("change", "status", "word"),
    [
        ({"model": "none"}, 404, "Ask for reviews"),
        ({"model": "scripted:8"}, 400, "encodes texts and has no classes"),
        ({"model": "builtin:reader"}, 400, "was trained for span, not for classification"),
        ({"model": ""}, 400, "model"),
        ({"input": []}, 400, "input"),
        ({"input": ["a", ""]}, 400, "input"),
        ({"top_k": 0}, 400, "top_k"),
        ({"labels": True}, 400, "labels"),
    ],
)
def test_errors_name_what_is_wrong(
    client: TestClient, change: dict[str, Any], status: int, word: str
) -> None:
    answer = client.post("/v1/classify", json={"model": "reviews", "input": ["a"], **change})
    assert answer.status_code == status, answer.text
    assert word in json.dumps(answer.json()["error"])
