"""Forty ways to get a data set wrong: each is told by file, line and fix, and the rest is read."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import pytest

from moli.records.errors import InputError
from moli.workspace.datasets import read_dataset

GOOD = '{"text": "A good film.", "label": "positive"}\n'
CHAT = (
    '{"messages": [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello"}]}\n'
)
ALPACA = '{"instruction": "a", "output": "b"}\n'
SPAN = '{"question": "q", "context": "abc", "answers": ["b"], "answer_starts": [1]}\n'
SCORED = '{"text1": "a", "text2": "b", "score": 1}\n'
MATCH = '{"query": "a", "positive": "b"}\n'


def turns(*pairs: tuple[object, object]) -> str:
    return json.dumps({"messages": [{"role": role, "content": text} for role, text in pairs]})


# File, its text, line of the fault, and what the message says of it. Every other row is good.
ROWS = [
    ("cut.jsonl", GOOD + '{"text": "A film\n', 2, "not JSON"),
    ("comma.jsonl", GOOD + '{"text": "x", "label": "y",}', 2, "not JSON"),
    ("quotes.jsonl", GOOD + "{'text': 'x', 'label': 'y'}", 2, "not JSON"),
    ("nan.jsonl", GOOD + '{"text": NaN, "label": "y"}', 2, "'text' is empty"),
    ("list.jsonl", GOOD + '["x", "y"]', 2, "a list, not an object"),
    ("string.jsonl", GOOD + '"x"', 2, "text, not an object"),
    ("null.jsonl", GOOD + "null", 2, "null, not an object"),
    ("blank.jsonl", GOOD + "\n\n" + '{"text": "x"}', 4, "'label' is missing"),
    ("typo.jsonl", GOOD + '{"text": "x", "lable": "y"}', 2, "'label' is missing. Rename 'lable'"),
    ("lang.jsonl", GOOD + '{"Texte": "x", "label": "y"}', 2, "'text' is missing. Rename 'Texte'"),
    ("empty.jsonl", GOOD + '{"text": "", "label": "y"}', 2, "'text' is empty"),
    ("space.jsonl", GOOD + '{"text": " \\n ", "label": "y"}', 2, "'text' is empty"),
    ("number.jsonl", GOOD + '{"text": 5, "label": "y"}', 2, "'text' is a number, not text"),
    ("nothing.jsonl", GOOD + '{"text": null, "label": "y"}', 2, "'text' is empty"),
    ("width.jsonl", GOOD + '{"text": "\\u200b\\ufeff", "label": "y"}', 2, "'text' is empty"),
    ("labels.jsonl", GOOD + '{"text": "x", "label": ["a", "b"]}', 2, "'label' is a list of labels"),
    ("fraction.jsonl", GOOD + '{"text": "x", "label": 0.5}', 2, "'label' is 0.5, no"),
    ("nolabel.jsonl", GOOD + '{"text": "x", "label": ""}', 2, "'label' is empty"),
    ("more.csv", "text,label\nx,y\na,b,c\n", 3, "3 cells under 2 columns"),
    ("fewer.csv", "text,label\nx,y\na\n", 3, "1 cells under 2 columns"),
    ("break.csv", 'text,label\n"x\ny",a\nb\n', 4, "1 cells under 2 columns"),
    ("empty.tsv", "text\tlabel\nx\ty\n\tz\n", 3, "'text' is empty"),
    ("roles.jsonl", CHAT + turns(("user", "Hi"), ("herald", "Hello")), 2, 'has the role "herald"'),
    ("turn.jsonl", CHAT + turns(("user", "Hi"), ("assistant", None)), 2, "no text in 'content'"),
    ("mute.jsonl", CHAT + turns(("user", "Hi"), ("assistant", " ")), 2, "no text in 'content'"),
    ("asks.jsonl", CHAT + turns(("user", "Hi")), 2, "no assistant turn"),
    ("twice.jsonl", CHAT + turns(("user", "a"), ("user", "b"), ("assistant", "c")), 2, "in a row"),
    ("late.jsonl", CHAT + turns(("assistant", "b"), ("system", "c")), 2, "not the first"),
    ("none.jsonl", CHAT + '{"messages": []}', 2, "not a list of turns"),
    ("text.jsonl", CHAT + '{"messages": "Hi"}', 2, "not a list of turns"),
    ("keys.jsonl", CHAT + '{"messages": [{"who": "human", "says": "Hi"}]}', 2, "lacks 'role'"),
    ("history.jsonl", ALPACA + ALPACA.replace("}", ', "history": ["c"]}'), 2, "'history' is not"),
    ("taught.jsonl", ALPACA + ALPACA.replace("}", ', "history": [["c", ""]]}'), 2,
     "'history' has an empty answer"),
    ("halves.jsonl", ALPACA + ALPACA.replace("}", ', "history": [["c", "\\ud83d"]]}'), 2,
     "'history' contains half a character"),
    ("span.jsonl", SPAN + SPAN.replace("[1]", "[2]"), 2, 'the answer "b" is not in'),
    ("before.jsonl", SPAN + SPAN.replace("[1]", "[-2]"), 2, "is not in the context at -2"),
    ("starts.jsonl", SPAN + SPAN.replace("[1]", "[1, 1]"), 2, "not lists of the same length"),
    ("score.jsonl", SCORED + SCORED.replace("1}", '"high"}'), 2, "'score' is 'high', not a number"),
    ("huge.jsonl", SCORED + SCORED.replace("1}", f"{10**400}}}"), 2, "000, too large"),
    ("negative.jsonl", MATCH + MATCH.replace("}", ', "negative_2": 5}'), 2, "'negative_2' con"),
    ("zero.jsonl", MATCH + MATCH.replace("}", ', "negatives": 0}'), 2, "'negatives' contains"),
    ("half.jsonl", MATCH + MATCH.replace("}", ', "negative": "\\ud83d"}'), 2, "contains half a"),
    ("cells.csv", 'query,positive,negative\na,b,c\na,b,"[""c"", null]"\n', 3, "is not text"),
    ("negatives.jsonl", MATCH + MATCH.replace("}", ', "negatives": [1]}'), 2, "is not text"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "text", "line", "message"), ROWS, ids=[row[0] for row in ROWS])
def test_a_malformed_row_is_told_and_the_rest_is_read(
    tmp_path: Path, name: str, text: str, line: int, message: str
) -> None:
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    dataset = read_dataset(path)
    (malformed,) = dataset.malformed
    assert malformed.where == f"{path}:{line}"
    assert message in str(malformed)
    assert malformed.fix.endswith(".")
    assert len(dataset.examples) >= 1


def named(column: str, name: str, row: str) -> str:
    """A row whose column has another name."""
    return row.replace(f'"{column}"', f'"{name}"', 1)


# A good row, a bad one, names for columns, and what is said by the names that the data have.
NAMED = [
    ('{"prompt": "a", "completion": "b"}', '{"prompt": "a", "completion": null}', {},
     "'completion' is empty"),
    ('{"prompt": "a", "completion": "b"}', '{"prompt": "a"}', {}, "'completion' is missing"),
    ('{"review": "a"}', '{"review": null}', {"text": "review"}, "'review' is empty"),
    ('{"review": "a"}', '{"revue": "a"}', {"text": "review"}, "is missing. Rename 'revue'"),
    ('{"review": "a", "topic": "b"}', '{"review": "a", "topic": 0.5}', {"label": "topic"},
     "'topic' is 0.5"),
    ('{"image": "a", "class": "b"}', '{"image": "a", "class": ""}', {}, "'class' is empty"),
    (named("score", "grade", SCORED), named("score", "grade", SCORED.replace("1}", "null}")),
     {"score": "grade"}, "'grade' is None"),
    (named("answers", "spans", SPAN), named("answers", "spans", SPAN.replace("[1]", "[]")),
     {"answers": "spans"}, "Write spans: [text], answer_starts: [offset]"),
    (named("messages", "turns", CHAT), '{"turns": []}', {"messages": "turns"}, "'turns' is not"),
    (named("messages", "turns", CHAT), '{"turns": [{"role": "x"}]}', {"messages": "turns"},
     "'turns[0]' has the role"),
    (named("messages", "turns", CHAT), '{"turns": [{"role": "user", "content": "a"}]}',
     {"messages": "turns"}, "'turns' has no assistant turn"),
    ('{"conversation": [{"from": "gpt", "value": "a"}]}', '{"conversation": [{"from": "gpt"}]}',
     {}, "'conversation[0]' lacks"),
    (CHAT, CHAT.replace("]}", '], "functions": 5}'), {"tools": "functions"}, "'functions' is not"),
    (CHAT, CHAT.replace("]}", '], "functions": [5]}'), {"tools": "functions"}, "'functions[0]'"),
    (ALPACA, ALPACA.replace("}", ', "before": [1]}'), {"history": "before"}, "'before' is not a"),
]  # fmt: skip


@pytest.mark.parametrize(("good", "bad", "columns", "message"), NAMED)
def test_a_column_is_told_of_by_the_name_that_the_data_have(
    tmp_path: Path, good: str, bad: str, columns: dict[str, str], message: str
) -> None:
    path = tmp_path / "a.jsonl"
    path.write_text(f"{good.strip()}\n{bad.strip()}\n")
    (malformed,) = read_dataset(path, columns=columns).malformed
    assert message in str(malformed)


# Files that cannot be read at all: what is said, and the line if there is one.
FILES = {
    "empty.jsonl": (b"", "empty"),
    "blank.csv": (b"\n\n", "empty"),
    "header.csv": (b"text,label\n", "empty"),
    "opened.csv": (b'"text,label\na,b\n', r"opened\.csv:1: not CSV"),
    "half.csv": (b'"te"xt,label\na,b\n', r"half\.csv:1: not CSV"),
    "twice.csv": (b"text,text\na,b\n", r"twice\.csv:1: duplicate column 'text'"),
    "latin.jsonl": (GOOD.encode() + b'{"text": "caf\xe9"}', r"latin\.jsonl:2: not UTF-8"),
    "unknown.jsonl": (b'{"a": 1, "b": 2}', "columns a, b do not match any"),
    "object.json": (b'{"a": 1}', "not a list of objects"),
    "cut.json": (b'[{"text": "a"},\n{"text"', "not JSON .* at line 2"),
    "deep.jsonl": (b"[" * 100_000, "nested too deeply"),
    "cut.jsonl.gz": (gzip.compress(GOOD.encode() * 100)[:-9], "cannot be read"),
    "plain.jsonl.gz": (GOOD.encode(), "cannot be read"),
    "words.docx": (b"text", "unsupported kind of file"),
    "broken.parquet": (b"PAR1 not really PAR1", "unreadable parquet"),
    "broken.arrow": (b"not arrow at all", "unreadable arrow"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_that_cannot_be_read_is_refused_by_name(tmp_path: Path, name: str) -> None:
    data, message = FILES[name]
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(InputError, match=message) as caught:
        read_dataset(path)
    assert str(path) in str(caught.value)
    assert caught.value.fix.endswith(".")


def test_what_is_not_there_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.jsonl: no such file"):
        read_dataset(tmp_path / "no.jsonl")
    with pytest.raises(InputError, match="no data file"):
        read_dataset(tmp_path)
