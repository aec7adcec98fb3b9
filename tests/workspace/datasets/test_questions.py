from __future__ import annotations

from pathlib import Path

import pytest

from moli.records.errors import InputError
from moli.records.examples import (
    Conversation,
    Labelled,
    LocatedExample,
    MalformedRow,
    Scored,
    Span,
    Text,
)
from moli.records.messages import Message
from moli.workspace.datasets import Row, read_dataset, read_lines, read_questions

PATH = Path("asked.jsonl")
LABELLED = {"labelled": {"label": "?"}}


def rows(*values: dict[str, object]) -> list[Row | MalformedRow]:
    return [Row(f"asked.jsonl:{n}", each) for n, each in enumerate(values, 1)]


def test_what_is_to_be_told_may_be_missing_or_empty() -> None:
    values = rows({"review": "x"}, {"text": "y", "category": None}, {"text": "z", "label": "a"})
    result = read_questions(values, LABELLED, path=PATH)
    examples = [each.example for each in result.examples]
    assert examples == [Labelled("x", "?"), Labelled("y", "?"), Labelled("z", "a")]
    assert result.malformed == ()


def test_what_is_asked_may_not_be_missing() -> None:
    broken = MalformedRow("asked.jsonl:9", "not JSON", "Correct it.")
    result = read_questions([*rows({"text": "x"}, {"label": "a"}), broken], LABELLED, path=PATH)
    assert result.examples == (LocatedExample("asked.jsonl:1", Labelled("x", "?")),)
    assert [each.what for each in result.malformed] == ["'text' is missing", "not JSON"]


def test_only_the_formats_that_are_asked_for_are_read() -> None:
    formats = {"scored": {"score": 0.0}, "text": {}}
    both = {"sentence1": "x", "sentence2": "y", "text": "z"}
    result = read_questions(rows(both), formats, path=PATH)
    assert result.examples[0].example == Scored("x", "y", 0.0)
    result = read_questions(rows({"text": "x", "label": "a"}), formats, path=PATH)
    assert result.examples[0].example == Text("x")
    span = {"span": {"answers": {"text": [], "answer_start": []}}}
    result = read_questions(rows({"question": "q", "context": "c"}), span, path=PATH)
    assert result.examples[0].example == Span("q", "c", (), ())
    with pytest.raises(InputError, match=r"It needs question \+ context"):
        read_questions(rows({"question": "q", "answer": "a"}), span, path=PATH)
    with pytest.raises(InputError, match="no rows to answer"):
        read_questions([], span, path=PATH)


def test_a_conversation_may_lack_its_answer() -> None:
    user, assistant = {"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}
    values = [[user], [user, assistant], [user, assistant, user], [assistant, {"role": "user"}]]
    result = read_questions(
        rows(*({"messages": each} for each in values)), {"messages": {}}, path=PATH
    )
    turns = [
        [each.content for each in located.example.messages]
        for located in result.examples
        if isinstance(located.example, Conversation)
    ]
    assert turns == [["x", "?"], ["x", "y"], ["x", "y", "x", "?"]]
    assert [each.where for each in result.malformed] == ["asked.jsonl:4"]
    turns = {"conversations": [{"from": "human", "value": "x"}]}
    [shared] = read_questions(rows(turns), {"messages": {}}, path=PATH).examples
    assert shared.example == Conversation((Message("user", "x"), Message("assistant", "?")))


def test_columns_may_have_other_names() -> None:
    result = read_questions(rows({"body": "x"}), LABELLED, path=PATH, columns={"text": "body"})
    assert result.examples[0].example == Labelled("x", "?")
    # A text that stands alone has Moli's name, and what is to be told has none.
    named = {"text": "body", "label": "topic"}
    result = read_questions(rows({"text": "x"}), LABELLED, path=PATH, columns=named)
    assert result.examples[0].example == Labelled("x", "?")
    result = read_questions(rows({"body": "x"}, {"text": "y"}), LABELLED, path=PATH, columns=named)
    assert [each.what for each in result.malformed] == ["'body' is missing"]


def test_data_to_learn_from_still_need_every_column(tmp_path: Path) -> None:
    path = tmp_path / "data.jsonl"
    path.write_text('{"text": "x", "label": "a"}\n{"text": "y"}\n{"text": "z", "label": ""}\n')
    result = read_dataset(path)
    assert len(result.examples) == 1
    assert [each.what for each in result.malformed] == ["'label' is missing", "'label' is empty"]


def test_lines_of_a_text_file_are_rows(tmp_path: Path) -> None:
    path = tmp_path / "texts.txt"
    path.write_bytes("\ufeffone\r\n\r\n  two \n".encode())
    result = [(row.where, row.values) for row in read_lines(path, "text") if isinstance(row, Row)]
    assert result == [(f"{path}:1", {"text": "one"}), (f"{path}:3", {"text": "two"})]
    with pytest.raises(InputError, match="cannot be read"):
        list(read_lines(tmp_path / "none.txt", "text"))
    path.write_bytes(b"\xff")
    with pytest.raises(InputError, match="not UTF-8"):
        list(read_lines(path, "text"))
