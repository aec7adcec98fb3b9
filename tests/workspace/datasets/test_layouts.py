"""Layouts in which programs and people write data sets, each with the examples that are in it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.feather
import pytest

from moli.records.errors import InputError
from moli.records.examples import (
    Conversation,
    Example,
    Labelled,
    LabelledPair,
    Pair,
    Span,
    Text,
    UnreadLines,
)
from moli.records.messages import Message
from moli.workspace.datasets import read_dataset

ROWS = [{"text": "a film", "label": "good"}, {"text": "a bore", "label": "bad"}]
EXAMPLES = [Labelled("a film", "good"), Labelled("a bore", "bad")]
CHAT = Conversation((Message("user", "Hi"), Message("assistant", "Hello")))
TURNS = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]
LEARNT = (Conversation, Pair, Text)


# The kinds of examples of tasks, by a column that they need.
TASKS = {"text1": (LabelledPair,), "label": (Labelled,), "source": LEARNT}


def read(path: Path, content: Any, **options: Any) -> list[Example]:
    """The examples in a file with this text, or with the JSON of this value."""
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        text = content if isinstance(content, str) else json.dumps(content)
        path.write_text(text, encoding="utf-8", newline="")
    dataset = read_dataset(path, **options)
    assert (dataset.malformed, dataset.unread) == ((), ())
    return [each.example for each in dataset.examples]


@pytest.mark.parametrize(
    "row",
    [
        {"conversations": TURNS},
        {"conversation": TURNS},
        {"messages": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello"}]},
        {"messages": [{"role": "User", "content": "Hi"}, {"role": "AI", "content": "Hello"}]},
        {"conversations": [{"from": "user", "value": "Hi"}, {"from": "chatgpt", "value": "Hello"}]},
        {"conversations": [{"from": "human", "value": "Hi"}, {"from": "bard", "value": "Hello"}]},
        {"messages": [{"role": "用户", "content": "Hi"}, {"role": "助手", "content": "Hello"}]},
        {"messages": json.dumps(TURNS)},
        {"messages": repr(TURNS)},  # as pandas writes it into a CSV file
        {"messages": repr(TURNS).replace("}, {", "}\n {")},  # and as it writes an array
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "Hi"}]},
                      {"role": "assistant", "content": ["Hel", {"type": "text", "text": "lo"}]}]},
        {"prompt": TURNS[:1], "completion": TURNS[1:]},
        {"prompt": TURNS[:1], "completion": "Hello"},
        {"prompt": json.dumps(TURNS[:1]), "completion": TURNS[1]},
        {"conversation": [{"input": "Hi", "output": "Hello"}]},
        {"conversations": [{"human": "Hi", "assistant": "Hello"}]},
        {"query": "Hi", "response": "Hello"},
        {"Instruction": "Hi", "Output": "Hello"},
    ],
)  # fmt: skip
def test_a_conversation_has_many_forms(tmp_path: Path, row: dict[str, Any]) -> None:
    assert read(tmp_path / "a.jsonl", row, kinds=LEARNT) == [CHAT]


def test_calls_in_turns_of_their_own_join_the_turn_before(tmp_path: Path) -> None:
    call = {"name": "heat", "arguments": {"id": 0}}
    tools = [{"name": "heat"}]
    turns = [
        {"role": "user", "content": "How warm?"},
        {"role": "assistant", "content": "I look."},
        {"role": "tool_call", "content": json.dumps(call)},
        {"role": "tool_call", "content": json.dumps(call)},
        {"role": "tool_response", "content": "20"},
        {"role": "tool_response", "content": "21"},
        {"role": "assistant", "content": "20 and 21."},
    ]
    [example] = read(tmp_path / "a.jsonl", {"messages": turns, "tools": tools}, kinds=LEARNT)
    assert isinstance(example, Conversation)
    assert [each.role for each in example.messages] == [
        "user", "assistant", "tool", "tool", "assistant",
    ]  # fmt: skip
    asking = example.messages[1]
    assert asking.content == "I look."
    assert [each.name for each in asking.calls] == ["heat", "heat"]
    assert [each.call_id for each in example.messages[2:4]] == [each.id for each in asking.calls]


def test_a_part_that_is_no_text_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    parts = [{"type": "image_url", "image_url": {"url": "a.png"}}, {"type": "text", "text": "Hi"}]
    row = {"messages": [{"role": "user", "content": parts}, TURNS[1]]}
    path.write_text(json.dumps(row))
    [malformed] = read_dataset(path, kinds=LEARNT).malformed
    assert malformed.what == "'messages[0]' has a part of the type \"image_url\""


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("columns.json", {name: {str(n): row[name] for n, row in enumerate(ROWS)}
                          for name in ("text", "label")}),
        ("index.json", {str(n): row for n, row in enumerate(ROWS)}),
        ("split.json", {"columns": ["text", "label"], "index": [0, 1],
                        "data": [["a film", "good"], ["a bore", "bad"]]}),
        ("table.json", {"schema": {"fields": []}, "data": [{"index": 0, **ROWS[0]}, ROWS[1]]}),
        ("lists.json", {name: [row[name] for row in ROWS] for name in ("text", "label")}),
        ("keys.json", {"id-7": ROWS[0], "id-9": ROWS[1]}),
        ("spread.jsonl", "\n".join(json.dumps(row, indent=2) for row in ROWS)),
        ("spread.json", "\n\n".join(json.dumps(row, indent=2) for row in ROWS)),
        ("array.jsonl", json.dumps(ROWS, indent=1)),
        ("line.jsonl", json.dumps(ROWS)),
        ("excel.csv", "sep=;\r\ntext;label\r\na film;good\r\na bore;bad\r\n"),
        ("pipe.csv", "text|label\na film|good\na bore|bad\n"),
        ("tab.csv", "text\tlabel\na film\tgood\na bore\tbad\n"),
        ("blank.csv", "text,label,,\na film,good,,\n  \n,,,\na bore,bad,,\n,,,\n"),
        ("padded.csv", "Text , LABEL\na film,good\na bore,bad\n"),
        ("marked.csv", b"\xef\xbb\xbf" + b'"text","label"\r\na film,good\r\na bore,bad\r\n'),
        ("wide.csv", "text\tlabel\na film\tgood\na bore\tbad\n".encode("utf-16")),
        ("wide.jsonl", "\n".join(map(json.dumps, ROWS)).encode("utf-16-be")),
    ],
)  # fmt: skip
def test_a_table_has_many_forms(tmp_path: Path, name: str, content: Any) -> None:
    assert read(tmp_path / name, content) == EXAMPLES


def test_arrow_with_and_without_an_index(tmp_path: Path) -> None:
    table = pa.Table.from_pylist(ROWS)
    path = tmp_path / "a.arrow"
    for write in (pa.ipc.new_file, pa.ipc.new_stream):
        with path.open("wb") as file, write(file, table.schema) as writer:
            writer.write_table(table)
        assert [each.example for each in read_dataset(path).examples] == EXAMPLES
    pyarrow.feather.write_feather(table, tmp_path / "b.feather")
    assert [each.example for each in read_dataset(tmp_path / "b.feather").examples] == EXAMPLES


def test_the_official_file_of_squad(tmp_path: Path) -> None:
    questions = [
        {"id": "1", "question": "Where?", "answers": [{"text": "sea", "answer_start": 4}]},
        {"id": "2", "question": "When?", "answers": [], "is_impossible": True},
    ]
    article = {"title": "x", "paragraphs": [{"context": "The sea.", "qas": questions}]}
    expected = [Span("Where?", "The sea.", ("sea",), (4,)), Span("When?", "The sea.", (), ())]
    assert read(tmp_path / "a.json", {"version": "v2.0", "data": [article]}) == expected
    assert read(tmp_path / "a.json", [article]) == expected


def test_cells_without_a_value_and_with_json(tmp_path: Path) -> None:
    row = {"instruction": "Hi", "input": float("nan"), "output": "Hello"}
    assert read(tmp_path / "a.jsonl", row, kinds=LEARNT) == [CHAT]
    answers = json.dumps({"text": ["sea"], "answer_start": [4]})
    row = {"question": "Where?", "context": "The sea.", "answers": answers}
    assert read(tmp_path / "a.jsonl", row) == [Span("Where?", "The sea.", ("sea",), (4,))]


def test_a_workbook_is_no_table_of_text(tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"PK\x03\x04\x14\x00")
    with pytest.raises(InputError, match="an Excel or zip file"):
        read_dataset(tmp_path / "a.csv")


def test_a_plain_text_is_paragraphs_or_lines(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    assert read(path, "One\ntwo.\r\n\r\n \nThree.\n") == [Text("One\ntwo."), Text("Three.")]
    assert [each.where for each in read_dataset(path).examples] == [f"{path}:1", f"{path}:5"]
    assert read(path, "一行。\n两行。\n") == [Text("一行。"), Text("两行。")]


def test_whole_numbers_are_one_label_in_every_form(tmp_path: Path) -> None:
    rows = [{"text": "a", "label": label} for label in (1, 1.0, "1")]
    labels = {each.label for each in read(tmp_path / "a.json", rows) if isinstance(each, Labelled)}
    assert labels == {"1"}


def test_task_and_columns_decide_the_format(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    both = {"prompt": "p", "response": "r", "text": "t", "label": "l"}
    assert read(path, both) == [Pair("p", "r")]
    assert read(path, both, kinds=(Labelled,)) == [Labelled("t", "l")]
    assert read(path, both, columns={"text": "text", "label": "label"}) == [Labelled("t", "l")]
    alpaca = {"instruction": "Hi", "input": "", "output": "Hello", "text": "### Hi"}
    assert read(path, alpaca, kinds=(Text,)) == [Text("### Hi")]
    assert read(path, alpaca, kinds=LEARNT, columns={"text": "text"}) == [Text("### Hi")]
    assert read(path, alpaca, kinds=LEARNT) == [CHAT]
    # A text with a label is not silently a text to continue.
    assert read(path, ROWS[0], kinds=LEARNT) == [EXAMPLES[0]]
    assert read(path, ROWS[0], kinds=(Text,)) == [Text("a film")]


@pytest.mark.parametrize(
    ("row", "line"),
    [
        ({"review_body": "A long review.", "stars": 5}, "text: review_body, label: stars"),
        ({"内容": "很好看", "标签": "好"}, "text: 内容, label: 标签"),
        ({"my text": "A long text.", "class name": "b"}, 'text: "my text", label: "class name"'),
        ({"Review": "A long text.", "stars": 4}, "label: stars"),
        ({"问": "几点开门？", "答": "九点。"}, "source: 问, target: 答"),
        ({"问题1": "几点开门？", "问题2": "何时营业？", "相似": 1},
         "text1: 问题1, text2: 问题2, label: 相似"),
        ({"q1": "When?", "q2": "At what time?", "same": 1}, "text1: q1, text2: q2, label: same"),
    ],
)  # fmt: skip
def test_the_mapping_that_would_work_is_suggested(
    tmp_path: Path, row: dict[str, Any], line: str
) -> None:
    kinds = next(kind for name, kind in TASKS.items() if name in line)
    with pytest.raises(InputError) as caught:
        read(tmp_path / "a.jsonl", row, kinds=kinds)
    assert f"`columns: {{{line}}}`" in caught.value.fix


def test_keys_of_turns_that_are_not_read_are_named(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    answer = {"role": "assistant", "reasoning_content": "A greeting.", "content": "Hello"}
    rows = [
        {"messages": [TURNS[0] | {"name": "Ann"}, answer]},
        {"messages": json.dumps([TURNS[0], TURNS[1] | {"masked": True, "audio": None}])},
    ]
    path.write_text("\n".join(map(json.dumps, rows)))
    dataset = read_dataset(path)
    assert [each.example for each in dataset.examples] == [CHAT, CHAT]
    assert dataset.unused == ("messages[].masked", "messages[].reasoning_content")
    path.write_text(json.dumps({"prompt": TURNS[:1], "completion": [answer]}))
    assert read_dataset(path).unused == ("completion[].reasoning_content",)


@pytest.mark.parametrize(
    ("row", "method"),
    [
        ({"prompt": "Hi", "chosen": "Hello", "rejected": "What?"}, "DPO"),
        ({"prompt": "Hi", "completion": "Hello", "rejected": "What?"}, "DPO"),
        ({"instruction": "Hi", "input": "", "chosen": "Hello", "rejected": "What?"}, "DPO"),
        ({"messages": TURNS, "rejected_response": "What?"}, "DPO"),
        ({"chosen": TURNS, "rejected": TURNS}, "DPO"),
        ({"input": {"messages": TURNS[:1]}, "preferred_output": TURNS[1:],
          "non_preferred_output": TURNS[1:]}, "DPO"),
        ({"prompt": "Hi", "completion": "Hello", "label": True}, "KTO"),
        ({"prompt": "Hi", "completion": "Hello", "label": 1}, "KTO"),
        ({"messages": TURNS, "kto_tag": False}, "KTO"),
        ({"instruction": "Hi", "output": "Hello", "kto_tag": 0}, "KTO"),
    ],
)  # fmt: skip
def test_preferences_are_refused(tmp_path: Path, row: dict[str, Any], method: str) -> None:
    path = tmp_path / "a.jsonl"
    with pytest.raises(InputError) as caught:
        read(path, row, kinds=LEARNT)
    assert caught.value.where == f"{path}:1"
    assert f"belong to {method}" in caught.value.what


def test_advice_knows_what_the_task_needs(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        read(tmp_path / "a.jsonl", {"content": "A text.", "summary": "Text."}, kinds=LEARNT)
    assert "`columns: {source: content, target: summary}`" in caught.value.fix
    with pytest.raises(InputError, match="If the file has no header, add one"):
        read(tmp_path / "a.csv", "a good film,yes\na bad film,no\nno film,yes\n")
    with pytest.raises(InputError, match=r"the task needs source \+ target"):
        read(tmp_path / "a.jsonl", {"translation": {"en": "x", "zh": "y"}}, kinds=(Pair,))


def test_a_row_with_more_than_text_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps({"messages": TURNS, "images": ["a.png"]}))
    [malformed] = read_dataset(path, kinds=LEARNT).malformed
    assert malformed.what == "the row has 'images'"
    path.write_text(json.dumps({"messages": TURNS, "images": []}))
    assert read_dataset(path, kinds=LEARNT).malformed == ()


def test_a_number_beside_an_answer_is_no_rating(tmp_path: Path) -> None:
    row = {"instruction": "Hi", "output": "Hello", "label": 1}
    assert read(tmp_path / "a.jsonl", row, kinds=LEARNT) == [CHAT]


def test_the_better_answers_of_preferences_can_be_mapped(tmp_path: Path) -> None:
    row = {"prompt": "Hi", "chosen": "Hello", "rejected": "What?"}
    columns = {"completion": "chosen"}
    assert read(tmp_path / "a.jsonl", row, kinds=LEARNT, columns=columns) == [Pair("Hi", "Hello")]


# A text, the lines that are no rows (the first one and their number), and the examples that are.
BROKEN = [
    ("open.csv", 'text,label\n"a film,good\na bore,bad\n', [(2, 1)], EXAMPLES[1:]),
    ("quoted.csv", 'text,label\n"a film,good\n"a bore","bad"\n', [(2, 1)], EXAMPLES[1:]),
    ("inner.csv", 'text,label\n"a "film"",good\na bore,bad\n', [(2, 1)], EXAMPLES[1:]),
    ("long.csv", 'text,label\na film,good\n"one\ntwo "x"\nthree",bad\na bore,bad\n',
     [(3, 2), (5, 1)], EXAMPLES),
    ("cut.jsonl", json.dumps(ROWS[0]) + '\n{"text": "a b', [(2, 1)], EXAMPLES[:1]),
    ("spread.jsonl", '{\n"text": "a film",\n"label" "good"\n}\n' + json.dumps(ROWS[1], indent=1),
     [(1, 4)], EXAMPLES[1:]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "text", "unread", "expected"), BROKEN, ids=[row[0] for row in BROKEN]
)
def test_a_fault_does_not_end_a_file(
    tmp_path: Path, name: str, text: str, unread: list[tuple[int, int]], expected: list[Example]
) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    dataset = read_dataset(path)
    assert [each.example for each in dataset.examples] == expected
    assert [(each.where, each.lines) for each in dataset.unread] == [
        (f"{path}:{line}", count) for line, count in unread
    ]
    assert all(isinstance(each, UnreadLines) for each in dataset.unread)
    assert dataset.row_count == len(expected) + sum(count for _, count in unread)


@pytest.mark.parametrize(
    "content", ["[{}, {", '{"data": [', "version https://git-lfs.github.com/spec/v1\n"]
)
def test_a_file_that_is_broken_as_a_whole_is_refused_among_others(
    tmp_path: Path, content: str
) -> None:
    (tmp_path / "a.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in ROWS * 200))
    (tmp_path / "b.json").write_text(content)
    with pytest.raises(InputError) as caught:
        read_dataset(tmp_path)
    assert caught.value.where.startswith(str(tmp_path / "b.json"))
