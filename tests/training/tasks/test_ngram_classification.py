from __future__ import annotations

import json
from pathlib import Path

import pytest

import moli
from moli.records.errors import InputError
from moli.training.checks.preflight import preflight
from moli.training.recipes.recipe import make_recipe
from moli.training.trained.export import export
from moli.workspace import Workspace

GOOD = [
    "房间很大",
    "服务很好",
    "早餐丰富",
    "位置方便",
    "非常干净",
    "态度热情",
    "值得推荐",
    "环境优美",
]
BAD = [
    "房间很脏",
    "服务很差",
    "早餐难吃",
    "位置偏僻",
    "非常吵闹",
    "态度恶劣",
    "不会再来",
    "设施陈旧",
]


def write_reviews(path: Path) -> Path:
    rows = []
    for number in range(96):
        words, label = (GOOD, "good") if number % 2 else (BAD, "bad")
        text = f"{words[number % 8]}，{words[number // 8 % 8]}，第{number}天"
        rows.append({"text": text, "label": label})
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), "utf-8")
    return path


@pytest.fixture
def stored(tmp_path: Path) -> Path:
    """A workspace with a classifier of Chinese texts, trained with defaults."""
    with Workspace.init(tmp_path / "home") as workspace:
        result = moli.tune(
            task="classification",
            data=write_reviews(tmp_path / "reviews.jsonl"),
            held_out=0.25,
            name="reviews",
            workspace=workspace,
        )
    assert result.facts["step"] == 0
    assert result.facts["baselines"].keys() == {"majority", "tf-idf"}
    return tmp_path / "home"


def test_chinese_texts_are_classified_by_their_ngrams(stored: Path) -> None:
    answers = moli.predict("reviews", "服务很差，不会再来", "早餐丰富，干净", workspace=stored)
    assert [each["label"] for each in answers] == ["bad", "good"]
    assert all(0.5 < each["probability"] < 1 for each in answers)
    unknown = moli.predict("reviews", "xyz", workspace=stored)[0]
    assert unknown["probability"] < 0.6
    evaluation = moli.evaluate("reviews", stored.parent / "reviews.jsonl", workspace=stored)
    assert evaluation.metrics["accuracy"] > 0.9


def test_it_is_not_exported(stored: Path, tmp_path: Path) -> None:
    with Workspace.open(stored) as workspace:
        model = workspace.models.get("reviews")
        assert model.manifest.base == "builtin:ngrams"
        with pytest.raises(InputError, match=r"n-grams, which no other program.*v1/classify"):
            export(model, tmp_path / "exported")


def test_it_is_checked_before(tmp_path: Path) -> None:
    data = write_reviews(tmp_path / "reviews.jsonl")
    report = preflight(make_recipe({"task": "classification", "data": data}))
    assert report.ok
    assert report.estimate and report.estimate.steps == 0


@pytest.mark.parametrize(
    ("task", "method", "problem"),
    [("embedding", None, "cannot learn the task embedding"), ("classification", "lora", "no base")],
)
def test_what_ngrams_cannot_do_is_refused(
    tmp_path: Path, task: str, method: str | None, problem: str
) -> None:
    data = write_reviews(tmp_path / "reviews.jsonl")
    values = {"task": task, "data": data, "base": "builtin:ngrams", "method": method}
    with Workspace.init(tmp_path / "home") as workspace, pytest.raises(InputError, match=problem):
        moli.tune(workspace=workspace, **values)
