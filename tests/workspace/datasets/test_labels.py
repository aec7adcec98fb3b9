from __future__ import annotations

import json
from pathlib import Path

import pytest

from moli.records.examples import Labelled, LocatedExample
from moli.workspace.datasets import read_dataset
from moli.workspace.datasets.labels import label_key, order_labels, with_one_spelling


@pytest.mark.parametrize(
    ("spellings", "key"),
    [
        (["1", "1.0", "1.00", "true", "True", "TRUE"], "1"),
        (["0", "0.0", "false", "False"], "0"),
        (["-3", "-3.0"], "-3"),
        (["1.5"], "1.5"),
        (["007"], "007"),
        (["truth"], "truth"),
        (["退款"], "退款"),
    ],
)
def test_spellings_of_one_label_share_a_key(spellings: list[str], key: str) -> None:
    assert {label_key(each) for each in spellings} == {key}


def test_numbers_are_ordered_as_numbers() -> None:
    assert order_labels(["10", "2", "0", "1"]) == ["0", "1", "2", "10"]
    assert order_labels(["10.0", "2.0"]) == ["2.0", "10.0"]
    assert order_labels(["True", "False"]) == ["False", "True"]
    assert order_labels(["10", "2", "other"]) == ["10", "2", "other"]


def located(*labels: str) -> list[LocatedExample]:
    return [LocatedExample(f"a:{n}", Labelled(f"t{n}", each)) for n, each in enumerate(labels)]


def test_a_label_has_one_spelling_that_the_model_knows() -> None:
    def labels(*written: str, known: tuple[str, ...] = ()) -> list[str | None]:
        return [each.example.class_label for each in with_one_spelling(located(*written), known)]

    assert labels("1", "1.0", "true", "0.0") == ["1", "1", "1", "0.0"]
    assert labels("True", "False", "1.0", known=("false", "true")) == ["true", "false", "true"]
    assert labels("2.0", "3", "x", known=("2", "3")) == ["2", "3", "x"]


def test_values_of_json_are_written_as_json_writes_them(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    values = [True, False, 3, 3.0, " good "]
    path.write_text("".join(json.dumps({"text": "t", "label": each}) + "\n" for each in values))
    written = [each.example.class_label for each in read_dataset(path).examples]
    assert written == ["true", "false", "3", "3", "good"]


def test_numbered_classes_are_all_known(tmp_path: Path) -> None:
    names = ["neutral", "bad", "good"]
    features = {"label": {"names": names, "_type": "ClassLabel"}}
    (tmp_path / "dataset_info.json").write_text(json.dumps({"features": features}))
    rows = [{"text": "a", "label": 2}, {"text": "b", "label": 1}]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(each) + "\n" for each in rows))
    first, second = (each.example for each in read_dataset(tmp_path).examples)
    assert (first, second) == (Labelled("a", "good"), Labelled("b", "bad"))
    assert isinstance(first, Labelled)
    assert first.classes == tuple(names)
