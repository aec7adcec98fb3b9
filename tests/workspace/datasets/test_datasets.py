from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest

from moli.records.errors import InputError
from moli.records.examples import (
    Conversation,
    Example,
    Labelled,
    LabelledImage,
    Match,
    Pair,
    Scored,
    Span,
    Text,
)
from moli.records.messages import Message
from moli.workspace.datasets import read_dataset

ROWS = [
    {"text": "Tea, please; 茶。", "label": "order"},
    {"text": 'She said "no"\nand left.', "label": "other"},
]
USER, ANSWER = Message("user", "Hi"), Message("assistant", "Hello")
TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
SHARED = [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]
EXAMPLES = [Labelled(row["text"], row["label"]) for row in ROWS]


def lines(rows: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write(folder: Path, suffix: str) -> Path:
    """The same rows in a file of each format."""
    path = folder / f"rows{suffix}"
    if suffix in (".csv", ".tsv", "_semicolon.csv"):
        delimiter = {".csv": ",", ".tsv": "\t", "_semicolon.csv": ";"}[suffix]
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["text", "label"], delimiter=delimiter)
            writer.writeheader()
            writer.writerows(ROWS)
    elif suffix == ".json":
        path.write_text(json.dumps(ROWS), encoding="utf-8")
    elif suffix == "_data.json":
        path.write_text(json.dumps({"version": 1, "data": ROWS}), encoding="utf-8")
    elif suffix == ".jsonl.gz":
        path.write_bytes(gzip.compress(lines(ROWS).encode()))
    elif suffix == "_bom.jsonl":
        path.write_bytes(b"\xef\xbb\xbf" + lines(ROWS).replace("\n", "\r\n").encode())
    elif suffix == ".parquet":
        pyarrow.parquet.write_table(pa.Table.from_pylist(ROWS), path)
    else:  # an object a line, under either name
        path.write_text(lines(ROWS), encoding="utf-8")
    return path


def examples(path: Path, **options: Any) -> list[Example]:
    dataset = read_dataset(path, **options)
    assert dataset.malformed == ()
    return [each.example for each in dataset.examples]


@pytest.mark.parametrize(
    "suffix",
    [".jsonl", ".ndjson", "_lines.json", ".json", "_data.json", ".csv", ".tsv", "_semicolon.csv",
     ".jsonl.gz", "_bom.jsonl", ".parquet"],
)  # fmt: skip
def test_every_format_gives_the_same_examples(tmp_path: Path, suffix: str) -> None:
    assert examples(write(tmp_path, suffix)) == EXAMPLES


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ({"messages": [TURNS[0], TURNS[1]]}, Conversation((USER, ANSWER))),
        ({"id": 7, "conversations": SHARED, "tools": []}, Conversation((USER, ANSWER))),
        ({"query": "a", "positive": "b", "negatives": ["c"]}, Match("a", "b", ("c",))),
        ({"instruction": "Hi", "output": "Hello", "history": []}, Conversation((USER, ANSWER))),
        ({"text": "Words.", "label": "x", "notes": [{"k": 1}]}, Labelled("Words.", "x")),
        ({"text": [{"text": "Words."}]}, Text("Words.")),
        ({"conversations": [{"conversations": SHARED}]}, Conversation((USER, ANSWER))),
        ({"rows": [{"from": "de", "source": "a", "target": "b"}]}, Pair("a", "b")),
    ],
)
def test_a_json_file_with_an_object_is_that_row_or_a_list_of_rows(
    tmp_path: Path, value: dict[str, Any], expected: Example
) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps(value, indent=1))
    assert examples(path) == [expected]


def test_the_turns_of_a_json_file_are_no_rows(tmp_path: Path) -> None:
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"turns": TURNS}))
    assert examples(path, columns={"messages": "turns"}) == [Conversation((USER, ANSWER))]
    with pytest.raises(InputError, match="columns turns do not match any"):
        read_dataset(path)
    path.write_text(json.dumps({"messages": TURNS[:1]}))
    [malformed] = read_dataset(path).malformed
    assert malformed.what == "'messages' has no assistant turn"


def test_a_folder_as_datasets_saves_it(tmp_path: Path) -> None:
    for name in ("dataset_info.json", "state.json"):
        (tmp_path / name).write_text("{}")
    for number, row in enumerate(ROWS):
        table = pa.Table.from_pylist([row])
        path = tmp_path / f"data-0000{number}-of-00002.arrow"
        with path.open("wb") as file, pa.ipc.new_stream(file, table.schema) as stream:
            stream.write_table(table)
    assert examples(tmp_path) == EXAMPLES


def test_a_cell_may_hold_a_list_of_texts(tmp_path: Path) -> None:
    path = tmp_path / "a.tsv"
    path.write_text(
        'query\tpositive\tnegative\tnegative_1\na\tb\t"[""c"", ""d""]"\t\na\tb\t[c] d\t[]\n'
    )
    assert examples(path) == [Match("a", "b", ("c", "d")), Match("a", "b", ("[c] d",))]


def test_an_example_knows_the_line_it_came_from(tmp_path: Path) -> None:
    path = tmp_path / "a.csv"
    path.write_text('text,label\n"two\nlines",a\nx,b\n')
    assert [each.where for each in read_dataset(path).examples] == [f"{path}:2", f"{path}:4"]
    path = tmp_path / "a.jsonl"
    path.write_text("\n" + lines([{"text": "one\u2028line"}]))
    assert [each.where for each in read_dataset(path).examples] == [f"{path}:2"]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"messages": TURNS}, Conversation((USER, ANSWER))),
        ({"conversations": SHARED}, Conversation((USER, ANSWER))),
        (
            {"system": "Be kind.", "conversations": SHARED},
            Conversation((Message("system", "Be kind."), USER, ANSWER)),
        ),
        ({"instruction": "Hi", "input": "", "output": "Hello"}, Conversation((USER, ANSWER))),
        (
            {"instruction": "Add.", "input": "1 + 1", "output": "2", "history": [["Hi", "Hello"]]},
            Conversation((USER, ANSWER, Message("user", "Add.\n1 + 1"), Message("assistant", "2"))),
        ),
        ({"prompt": "Once", "completion": " upon"}, Pair("Once", " upon")),
        ({"question": "1 + 1?", "answer": "2"}, Pair("1 + 1?", "2")),
        ({"source": "", "target": "x"}, Pair("", "x")),
        ({"text": "Words."}, Text("Words.")),
        ({"sentence": "Words.", "label": True}, Labelled("Words.", "true")),
        ({"text": "Words.", "intent": 7}, Labelled("Words.", "7")),
        ({"text1": "a", "text2": "b", "score": "2.5"}, Scored("a", "b", 2.5)),
        ({"anchor": "a", "positive": "b", "negative": "c"}, Match("a", "b", ("c",))),
        ({"query": "a", "positive": "b"}, Match("a", "b")),
        ({"query": "a", "positive": "b", "negatives": None, "negative": "c"},
         Match("a", "b", ("c",))),
        ({"query": "a", "positive": "b", "negative_10": "f", "negative_2": "e", "negative_1": "d",
          "negative": "c", "negatives": ["x", "y"], "negative_3": None, "negative_name": "z"},
         Match("a", "b", ("x", "y", "c", "d", "e", "f"))),
        ({"image": "/a.png", "label": "cat"}, LabelledImage(Path("/a.png"), "cat")),
        (
            {"question": "q", "context": "a b", "answers": {"text": ["b"], "answer_start": [2]}},
            Span("q", "a b", ("b",), (2,)),
        ),
        (
            {"question": "q", "context": "a b", "answers": [], "answer_starts": []},
            Span("q", "a b", (), ()),
        ),
    ],
)  # fmt: skip
def test_every_format_is_known_by_its_columns(
    tmp_path: Path, row: dict[str, Any], expected: Example
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(lines([row]))
    assert examples(path) == [expected]


def test_an_image_is_found_beside_the_data_that_name_it(tmp_path: Path) -> None:
    for part in ("train", "test"):
        (tmp_path / part).mkdir()
        (tmp_path / part / "rows.jsonl").write_text(lines([{"image": "1.png", "label": "cat"}]))
        result = examples(tmp_path / part / "rows.jsonl")
        assert result == examples(tmp_path / part)
        assert result == [LabelledImage(tmp_path / part / "1.png", "cat")]


def test_columns_of_other_names_are_told(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(lines([{"body": "Words.", "topic": "x", "text": "not this"}]))
    columns = {"text": "body", "label": "topic"}
    assert examples(path, columns=columns) == [Labelled("Words.", "x")]
    # Moli's other names for a column serve as well, and none is read for two columns.
    path.write_text(lines([{"input": "Hi", "output": "Hello", "ask": "x", "text": "y"}]))
    assert examples(path, columns={"prompt": "ask"}) == [Pair("x", "Hello")]
    assert examples(path, columns={"instruction": "input"}) == [Conversation((USER, ANSWER))]
    path.write_text(lines([{"text": "good", "sentence": "Words."}]))
    assert examples(path, columns={"label": "text"}) == [Labelled("Words.", "good")]


def test_a_name_that_nothing_has_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(lines([{"text": "Words.", "label": "x"}, {"body": "Words.", "label": "x"}]))
    with pytest.raises(InputError) as caught:
        read_dataset(path, columns={"text": "bodyy"})
    assert str(caught.value) == (
        f"{path}: no row has the column 'bodyy', which 'columns' names for 'text'. "
        "There are: body, label, text."
    )
    with pytest.raises(InputError, match=r"'txet' is no column that is read\. Did you mean 'text'"):
        read_dataset(path, columns={"txet": "body"})
    with pytest.raises(InputError, match=r"'x' is no column that is read\. There are: label, text"):
        read_dataset(path, columns={"x": "body"}, kinds=(Labelled,))
    for optional in ("negatives", "negative", "answer_starts", "system", "history", "tools"):
        assert read_dataset(path, columns={optional: "body"}).examples


def test_a_column_of_another_name_is_read_by_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(lines([{"text": "this is the title", "label": "x"}, {"body": "b", "label": "x"},
                           {"text": "title", "content": "c", "label": "x"}]))  # fmt: skip
    read = read_dataset(path, columns={"text": "body"})
    assert [each.example for each in read.examples] == [Labelled("b", "x")]
    assert [each.what for each in read.malformed] == ["'body' is missing"] * 2
    turns = {"messages": TURNS}
    path.write_text(lines([turns | {"about": "Be kind."}, turns | {"system": "not this"}]))
    reported, unreported = examples(path, columns={"system": "about"})
    assert reported == Conversation((Message("system", "Be kind."), USER, ANSWER))
    assert unreported == Conversation((USER, ANSWER))


def test_classes_go_by_the_names_that_datasets_has_written(tmp_path: Path) -> None:
    features = {"label": {"names": ["bad", "good"], "_type": "ClassLabel"}}
    rows = [{"text": "a", "label": 1}, {"text": "b", "label": 0}]
    # Beside the data, as `save_to_disk` writes it.
    folder = tmp_path / "saved"
    folder.mkdir()
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))
    (folder / "rows.jsonl").write_text(lines(rows))
    assert examples(folder) == [Labelled("a", "good"), Labelled("b", "bad")]
    # Within the file, as it is on the hub.
    noted = json.dumps({"info": {"features": features}})
    table = pa.Table.from_pylist(rows).replace_schema_metadata({"huggingface": noted})
    pyarrow.parquet.write_table(table, tmp_path / "rows.parquet")
    assert examples(tmp_path / "rows.parquet") == [Labelled("a", "good"), Labelled("b", "bad")]
