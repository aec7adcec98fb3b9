"""Data sets that people get wrong, looked at before training: file, row, fault and fix are told.

`tests/workspace/datasets` has more of them, read without a recipe.
"""

from __future__ import annotations

import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet
import pytest
from training.small_models import write_model

from moli.models.hardware.probe import Machine
from moli.training.checks.preflight import preflight
from moli.training.recipes.recipe import make_recipe

GOOD = '{"text": "A good film.", "label": "positive"}'
CHAT = (
    '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}'
)
SPAN = '{"question": "q", "context": "abc", "answers": ["b"], "answer_starts": [1]}'
MATCH = '{"query": "a", "positive": "b"}'
SCORED = '{"text1": "a", "text2": "b", "score": 1}'
TASKS = {
    GOOD: "classification",
    CHAT: "instruction",
    SPAN: "span",
    MATCH: "reranking",
    SCORED: "embedding",
}


def turns(*messages: tuple[object, object]) -> str:
    return json.dumps({"messages": [{"role": role, "content": text} for role, text in messages]})


def called(name: str, arguments: str) -> str:
    call = {"id": "c", "function": {"name": name, "arguments": arguments}}
    messages = [{"role": "user", "content": "a"}, {"role": "assistant", "tool_calls": [call]}]
    return json.dumps(
        {"messages": messages, "tools": [{"name": "now", "parameters": {"required": ["zone"]}}]}
    )


# A good row, then the bad one twice, so that they are too many to be passed over.
ROWS = [
    ("escape", GOOD, '{"text": "x\\", "label": "y"}', "not JSON"),
    ("python", GOOD, '{"text": "x", "label": True}', "not JSON"),
    ("tab", GOOD, '{"text": "a\tb", "label": "y"}', "not JSON (Invalid control character"),
    ("joined", GOOD, GOOD + GOOD, "not JSON (Extra data"),
    ("comment", GOOD, "// a comment", "not JSON"),
    ("fence", GOOD, "```json", "not JSON"),
    ("comma", GOOD, GOOD + ",", "not JSON (Extra data"),
    ("digits", GOOD, '{"text": ' + "9" * 5000 + ', "label": "y"}', "too many digits"),
    ("half", GOOD, '{"text": "\\ud83d", "label": "y"}', "'text' contains half a character"),
    ("half label", GOOD, '{"text": "x", "label": "\\udc00"}', "'label' contains half"),
    ("number row", GOOD, "42", "a number, not an object"),
    ("true row", GOOD, "true", "a truth value, not an object"),
    ("empty row", GOOD, "{}", "'text' is missing"),
    ("nested", GOOD, json.dumps({"row": json.loads(GOOD)}), "'text' is missing. The row has: row"),
    ("other format", GOOD, '{"source": "a", "target": "b"}', "'text' is missing"),
    ("text object", GOOD, '{"text": {"en": "x"}, "label": "y"}', "'text' is an object, not text"),
    ("text true", GOOD, '{"text": true, "label": "y"}', "'text' is a truth value, not text"),
    ("label null", GOOD, '{"text": "x", "label": null}', "'label' is empty"),
    ("label object", GOOD, '{"text": "x", "label": {"id": 1}}', "'label' is an object, not text"),
    ("label nan", GOOD, '{"text": "x", "label": NaN}', "'label' is empty"),
    ("label blank", GOOD, '{"text": "x", "label": "  "}', "'label' is empty"),
    ("role", CHAT, turns(("user", "a"), ("herald", "b")), 'has the role "herald"'),
    ("role number", CHAT, turns((1, "a"), (2, "b")), 'has the role "1"'),
    ("parts", CHAT, turns(("user", [{"type": "text"}]), ("assistant", "b")), "no text in"),
    ("call", CHAT, turns(("user", "a"), ("assistant", None)), "'messages[1]' has no text"),
    ("half turn", CHAT, turns(("user", "\ud800"), ("assistant", "b")), "contains half a character"),
    ("one turn", CHAT, '{"messages": {"role": "user", "content": "a"}}', "has no assistant turn"),
    ("turn of words", CHAT, '{"messages": ["a", "b"]}', "'messages[0]' lacks 'role'"),
    ("no messages", CHAT, '{"messages": null}', "'messages' is not a list of turns"),
    ("middle", CHAT, turns(("user", "a"), ("system", "b"), ("assistant", "c")), "not the first"),
    ("twice", CHAT, turns(("user", "a"), ("assistant", "b"), ("assistant", "c")), "two assistant"),
    ("only tools", CHAT, turns(("user", "a"), ("tool", "b")), "'messages[1]' answers no call"),
    ("no tool", CHAT, called("look", "{}"), 'calls "look", which is not offered. The row offers:'),
    ("no object", CHAT, called("now", "[]"), "with arguments that are not a JSON object"),
    ("lacking", CHAT, called("now", "{}"), "calls \"now\" without \"zone\", which is required"),
    ("offset", SPAN, SPAN.replace("[1]", "[-1]"), "is not in the context at -1"),
    ("off by one", SPAN, SPAN.replace("[1]", "[0]"), "is not in the context at 0"),
    ("offset text", SPAN, SPAN.replace("[1]", '["1"]'), "is not in the context at 1"),
    ("answer number", SPAN, SPAN.replace('["b"]', "[5]"), "the answer 5 is not text"),
    ("answer empty", SPAN, SPAN.replace('["b"]', '[""]'), "the answer '' is not text"),
    ("answer alone", SPAN, SPAN.replace('["b"]', '"b"'), "not lists of the same length"),
    ("no context", SPAN, SPAN.replace('"abc"', '""'), "'context' is empty"),
    ("negative", MATCH, '{"query": "a", "positive": "b", "negatives": 5}', "that is not text"),
    ("negative null", MATCH, '{"query": "a", "positive": "b", "negatives": [null]}', "is not text"),
    ("no positive", MATCH, '{"query": "a", "negative": "b"}', "'positive' is missing"),
    ("score null", SCORED, '{"text1": "a", "text2": "b", "score": null}', "is None, not a number"),
    ("score text", SCORED, '{"text1": "a", "text2": "b", "score": "high"}', "is 'high', not a"),
    ("score nan", SCORED, '{"text1": "a", "text2": "b", "score": NaN}', "is nan, not a number"),
]  # fmt: skip
# Other formats, the place of the first fault in each and what its finding says.
TEXTS = {
    "semicolon.csv": ("text,label\na,b\nc;d\ne;f\n", ":3", "1 cells under 2 columns"),
    "tabs.csv": ("text,label\na,b\nc\td\ne\tf\n", ":3", "1 cells under 2 columns"),
    "spaces.tsv": ("text\tlabel\na\tb\nc d\ne f\n", ":3", "1 cells under 2 columns"),
    "commas.csv": ("text,label\na,b\nWell, yes,b\nNo, no,b\n", ":3", "3 cells under 2 columns"),
    "blank.csv": ("text,label\na,b\nc,\nd,\n", ":3", "'label' is empty"),
    "opened.csv": ('text,label\n"a,b\nc,d\n"e,f\ng,h\n', ":2", "not CSV"),
    "headless.csv": ("A good film,yes\nA bad film,no\n", "", "do not match any known format"),
    "named.csv": ("review_body,stars\na,b\n", "", "columns review_body, stars do not match any"),
    "twice.csv": ("text,label,label\na,b,c\n", ":1", "duplicate column 'label'"),
    "objects.json": ('{"a": {"text": "x"}, "b": {"text": "y"}}', " row 'a'", "are plain texts"),
    "lists.json": (f'[{GOOD}, ["a", "b"], ["c", "d"]]', " row 2", "a list, not an object"),
    "splits.json": ('{"train": [{"text": "a"}], "test": []}', " train row 1", "are plain"),
    "nulls.json": (f"[{GOOD}, null, null]", " row 2", "null, not an object"),
    "empty.json": ("", "", "the data set is empty"),
    "cut.json": (f"[{GOOD}, {GOOD[:20]}", ":1", "not JSON"),
    "lines.json": (f"{GOOD}\n{GOOD[:-1]}\n{GOOD[:-1]}\n", ":2", "not JSON"),
    "empty.jsonl": ("", "", "the data set is empty"),
    "notes.txt": (GOOD, ":1", "the rows are plain texts"),
    "sheet.xlsx": ("PK", "", "a spreadsheet. Save the table as CSV"),
}


def parquet(rows: list[dict[str, Any]]) -> bytes:
    sink = pa.BufferOutputStream()
    pyarrow.parquet.write_table(pa.Table.from_pylist(rows), sink)
    return sink.getvalue().to_pybytes()


def damaged(data: bytes, at: int) -> bytes:
    return data[:at] + bytes(byte ^ 0x5A for byte in data[at : at + 8]) + data[at + 8 :]


def arrow_file() -> bytes:
    """Arrow's format with an index, at its end."""
    sink, table = pa.BufferOutputStream(), pa.Table.from_pylist([json.loads(GOOD)])
    with pa.ipc.new_file(sink, table.schema) as file:
        file.write_table(table)
    return sink.getvalue().to_pybytes()


MANY = parquet([{"text": f"film {n}", "label": "a"} for n in range(500)])
BYTES = {
    "latin.csv": ("text,label\na,b\ncafé,d\n".encode("latin-1"), ":3", "not UTF-8 (byte 0xe9)"),
    "flipped.jsonl.gz": (
        damaged(gzip.compress("".join(f"{n}" for n in range(3000)).encode()), 40),
        "",
        "cannot be read",
    ),
    "plain.csv.gz": (b"text,label\na,b\n", "", "cannot be read"),
    "cut.parquet": (MANY[:-20], "", "unreadable parquet from row 1"),
    "flipped.parquet": (damaged(MANY, 40), "", "cannot be read"),
    "empty.parquet": (b"", "", "unreadable parquet"),
    "bytes.parquet": (parquet([{"text": b"x", "label": "a"}] * 2), " row 1", "is bytes, not text"),
    "null.parquet": (parquet([{"text": "x", "label": None}] * 2), " row 1", "'label' is empty"),
    "indexed.arrow": (arrow_file()[:-20], "", "unreadable arrow"),
}

Look = Callable[..., list[tuple[str, str, str]]]


@pytest.fixture(scope="module")
def bases(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    folder = tmp_path_factory.mktemp("bases")
    return {kind: write_model(folder / kind, kind) for kind in ("bert", "llama")}


@pytest.fixture
def look(bases: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> Look:
    """Where, what and fix of all findings before training."""
    machine = Machine("cpu", 1, {"fp32": 1.0, "bf16": 1.0}, 8 << 30)
    monkeypatch.setattr("moli.training.setup.prepared.probe", lambda: machine)

    def look(data: Path, task: str = "classification", **values: Any) -> list[tuple[str, str, str]]:
        base = bases["llama" if task == "instruction" else "bert"]
        report = preflight(make_recipe({"task": task, "data": data, "base": base} | values))
        assert not report.ok
        return [
            (each.locations[0], each.what, each.fix)
            for each in report.findings
            if each.severity == "error"
        ]

    return look


def assert_found(findings: list[tuple[str, str, str]], place: str, expected: str) -> None:
    where, what, fix = findings[0]
    assert where == place
    assert expected in f"{what}. {fix}"
    assert re.fullmatch(r"\S.*[.:!?]", fix, re.DOTALL)


@pytest.mark.parametrize(
    ("good", "bad", "expected"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS]
)
def test_a_bad_row_is_reported(
    tmp_path: Path, look: Look, good: str, bad: str, expected: str
) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{good}\n{bad}\n{bad}\n", encoding="utf-8")
    findings = look(path, TASKS[good])
    assert_found(findings, f"{path}:2", expected)
    assert findings[0][1].startswith("2 rows are malformed: ")


@pytest.mark.parametrize("name", TEXTS)
def test_a_bad_text_file_is_told(tmp_path: Path, look: Look, name: str) -> None:
    text, place, expected = TEXTS[name]
    path = tmp_path / name
    path.write_text(text, encoding="utf-8", newline="")
    assert_found(look(path), f"{path}{place}", expected)


@pytest.mark.parametrize("name", BYTES)
def test_a_bad_file_is_told(tmp_path: Path, look: Look, name: str) -> None:
    data, place, expected = BYTES[name]
    path = tmp_path / name
    path.write_bytes(data)
    assert_found(look(path), f"{path}{place}", expected)


def test_what_is_not_there_is_told(tmp_path: Path, look: Look) -> None:
    assert_found(look(tmp_path / "no.jsonl"), str(tmp_path / "no.jsonl"), "no such file")
    assert_found(look(tmp_path), str(tmp_path), "no data file in this folder")


def test_a_bad_file_in_a_folder_is_told_by_its_own_name(tmp_path: Path, look: Look) -> None:
    (tmp_path / "a.jsonl").write_text(f"{GOOD}\n")
    (tmp_path / "b.jsonl").write_bytes(b"\xff\xfe\x00")
    assert_found(look(tmp_path), f"{tmp_path / 'b.jsonl'}:1", "UTF-16")


def test_files_of_two_formats_in_a_folder_are_told(tmp_path: Path, look: Look) -> None:
    (tmp_path / "a.jsonl").write_text(f"{GOOD}\n")
    (tmp_path / "b.jsonl").write_text('{"source": "a", "target": "b"}\n' * 2)
    assert_found(look(tmp_path), f"{tmp_path / 'b.jsonl'}:1", "'text' is missing")


def test_classes_without_a_name_are_told(tmp_path: Path, look: Look) -> None:
    features = {"label": {"names": ["bad", "good"], "_type": "ClassLabel"}}
    (tmp_path / "dataset_info.json").write_text(json.dumps({"features": features}))
    rows = [{"text": "x", "label": number} for number in (1, -1, 2)]
    (tmp_path / "a.parquet").write_bytes(parquet(rows))
    expected = "'label' is -1, but the data set has 2 classes"
    assert_found(look(tmp_path), f"{tmp_path / 'a.parquet'} row 2", expected)


def test_examples_of_another_task_are_told(tmp_path: Path, look: Look) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{CHAT}\n")
    expected = "the rows are conversations, but the task classification needs texts with a label"
    assert_found(look(path), f"{path}:1", expected)


def test_a_column_of_another_name_is_told(tmp_path: Path, look: Look) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"body": "x", "topic": "y"}\n')
    expected = "`columns: {text: body, label: topic}`"
    assert_found(look(path, columns={"label": "topic"}), str(path), expected)
    expected = (
        "no row has the column 'bodi', which 'columns' names for 'text'. There are: body, topic."
    )
    assert_found(look(path, columns={"text": "bodi"}), str(path), expected)
    expected = "'txet' is no column that is read. Did you mean 'text'?"
    assert_found(look(path, columns={"txet": "body"}), "columns", expected)


def test_bad_held_out_rows_are_told(tmp_path: Path, look: Look) -> None:
    path, held_out = tmp_path / "rows.jsonl", tmp_path / "judged.jsonl"
    path.write_text(f"{GOOD}\n" + GOOD.replace("positive", "negative") + "\n")
    held_out.write_text(f"{GOOD}\n{{}}\n{{}}\n")
    assert_found(look(path, held_out=held_out), f"{held_out}:2", "'text' is missing")


def test_one_label_is_not_enough(tmp_path: Path, look: Look) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text(f"{GOOD}\n")
    assert_found(look(path, held_out=0), str(path), "every example has the label 'positive'")


def test_no_example_is_left(tmp_path: Path, look: Look) -> None:
    path, held_out = tmp_path / "rows.jsonl", tmp_path / "judged.jsonl"
    for each in (path, held_out):
        each.write_text(f"{GOOD}\n")
    assert_found(look(path, held_out=held_out), str(path), "no training examples are left")
