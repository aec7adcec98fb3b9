from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from moli.records.errors import InputError
from moli.records.examples import Example, Labelled, LabelledPair, LocatedExample, MultiLabelled
from moli.workspace.datasets import read_dataset
from moli.workspace.datasets.labels import (
    label_key,
    order_labels,
    split_labels,
    with_one_spelling,
)


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


BOTH = [MultiLabelled("t", ("a", "b")), MultiLabelled("u", ()), MultiLabelled("v", ("b",))]


def multi(path: Path, text: str, **options: Any) -> list[Example]:
    path.write_text(text, encoding="utf-8")
    dataset = read_dataset(path, kinds=(MultiLabelled,), **options)
    assert not dataset.malformed
    return [each.example for each in dataset.examples]


@pytest.mark.parametrize("column", ["labels", "label", "tags", "categories"])
def test_a_list_of_labels(column: str, tmp_path: Path) -> None:
    lists = [["a", "b"], [], ["b", "b"]]
    rows = [{"text": text, column: each} for text, each in zip("tuv", lists, strict=True)]
    as_jsonl = "".join(json.dumps(row) + "\n" for row in rows)
    assert multi(tmp_path / "a.jsonl", as_jsonl) == BOTH
    for write in (json.dumps, repr):  # as JSON, and as pandas writes lists into CSV
        cells = "".join(f"{row['text']};{write(row[column])}\n" for row in rows)
        assert multi(tmp_path / "a.csv", f"text;{column}\n{cells}") == BOTH


def test_numbers_are_labels_too(tmp_path: Path) -> None:
    row = {"text": "t", "labels": [3, 1.0, True]}
    assert multi(tmp_path / "a.jsonl", json.dumps(row)) == [MultiLabelled("t", ("3", "1", "true"))]


def test_a_list_that_is_none_is_malformed(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,labels\nt,['a' 'b']\nu,\n")
    dataset = read_dataset(path, kinds=(MultiLabelled,))
    assert [row.where for row in dataset.malformed] == [f"{path}:2"]
    assert [each.example for each in dataset.examples] == [MultiLabelled("u", ())]


def test_a_column_for_each_label(tmp_path: Path) -> None:
    path, columns = tmp_path / "a.csv", {"labels": "rude, loud, new"}
    text = "text,rude,loud,new\nt,1,1,0\nu,0,0.0,False\nv,0,True,0\n"
    examples = multi(path, text, columns=columns)
    assert [each.class_labels for each in examples] == [("rude", "loud"), (), ("loud",)]
    assert isinstance(examples[0], MultiLabelled)
    assert examples[0].classes == ("rude", "loud", "new")
    path.write_text("text,rude,loud,new\nt,1,1,0\nu,-1,-1,-1\n")
    (row,) = read_dataset(path, kinds=(MultiLabelled,), columns=columns).malformed
    assert (row.where, row.what) == (f"{path}:3", "'rude' is '-1', neither 1 nor 0")
    with pytest.raises(InputError, match="no row has the column 'rude, proud'"):
        read_dataset(path, kinds=(MultiLabelled,), columns={"labels": "rude, proud"})


def test_labels_in_one_text_are_split_only_on_request(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text("text,tags\nt,a; b\nu,\nv,b\n")
    dataset = read_dataset(path, kinds=(MultiLabelled,))
    assert [each.example.class_labels for each in dataset.examples] == [("a; b",), (), ("b",)]
    assert [each.example for each in split_labels(dataset.examples, ";")] == BOTH


def test_numbered_classes_of_a_list(tmp_path: Path) -> None:
    inner = {"names": ["x", "y", "z"], "_type": "ClassLabel"}
    features = {"labels": {"feature": inner, "_type": "Sequence"}}
    (tmp_path / "dataset_info.json").write_text(json.dumps({"features": features}))
    (tmp_path / "rows.jsonl").write_text('{"text": "t", "labels": [2, 0]}\n')
    (example,) = (each.example for each in read_dataset(tmp_path, kinds=(MultiLabelled,)).examples)
    assert example == MultiLabelled("t", ("z", "x"))


PAIR_COLUMNS = [
    ("text", "text_pair"),
    ("premise", "hypothesis"),
    ("sentence1", "sentence2"),
    ("question1", "question2"),
    ("question", "sentence"),
    ("text1", "text2"),
]


@pytest.mark.parametrize(("first", "second"), PAIR_COLUMNS)
def test_two_texts_with_a_label(first: str, second: str, tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({first: "它下雨吗?", second: "It rains.", "label": 1}))
    for kinds in ((), (LabelledPair,), (Labelled,)):  # neither text is ever left out
        (located,) = read_dataset(path, kinds=kinds).examples
        assert located.example == LabelledPair("它下雨吗?", "It rains.", "1")


def test_of_two_texts_one_may_be_chosen(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"question": "q", "sentence": "s", "label": 1}))
    dataset = read_dataset(path, kinds=(Labelled,), columns={"text": "sentence"})
    assert dataset.examples[0].example == Labelled("s", "1")


def test_a_list_of_labels_names_its_task(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"text": "t", "labels": ["a"]}))
    (row,) = read_dataset(path, kinds=(Labelled,)).malformed
    assert row.fix == "Use task: multi_label_classification for such rows."
