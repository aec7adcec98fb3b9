from __future__ import annotations

from pathlib import Path

import pytest

from moli.records.errors import InputError
from moli.retrieval.questions import read_questions


def read(tmp_path: Path, name: str, text: str) -> list[tuple[str, tuple[str, ...]]]:
    (tmp_path / name).write_text(text, encoding="utf-8")
    questions, malformed = read_questions(tmp_path / name)
    assert malformed == []
    return [(each.text, each.answers) for each in questions]


@pytest.mark.parametrize(
    ("line", "answers"),
    [
        ('{"question": "How long?", "answers": ["30 days", "a month"]}', ("30 days", "a month")),
        ('{"question": "How long?", "answer": "30 days"}', ("30 days",)),
        ('{"Query": " How long? ", "expected": 30}', ("30",)),
        ('{"question": "How long?", "none": true}', ()),
        ('{"question": "How long?", "answers": []}', ()),
        ('{"question": "How long?", "answer": null}', ()),
        ('{"question": "How long?", "answers": {"text": ["30 days"], "answer_start": [3]}}',
         ("30 days",)),
        ('{"question": "How long?", "answers": {"text": []}, "is_impossible": true}', ()),
    ],
)  # fmt: skip
def test_lines_of_json_are_read_in_the_ways_people_write_them(
    tmp_path: Path, line: str, answers: tuple[str, ...]
) -> None:
    assert read(tmp_path, "q.jsonl", line + "\n") == [("How long?", answers)]


def test_tables_are_read_with_several_answers_in_a_cell(tmp_path: Path) -> None:
    text = '问题,答案\n多久？,"三十天 | 30天"\n多少？,"[""5"", ""五""]"\n谁？,\n'
    expected = [("多久？", ("三十天", "30天")), ("多少？", ("5", "五")), ("谁？", ())]
    assert read(tmp_path, "q.csv", text) == expected


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ('{"answers": ["x"]}', "no 'question'"),
        ('{"question": "Why?"}', "neither 'answers' nor 'none'"),
        ('{"question": 5, "answers": ["x"]}', "'question' is a number"),
        ('{"question": " ", "answers": ["x"]}', "'question' is empty"),
        ('{"question": "Why?", "answers": ["x"], "none": true}', "there are answers"),
        ('{"question": "Why?", "answers": [], "none": false}', "no answer, and"),
        ('{"question": "Why?", "none": "perhaps"}', "'none' is 'perhaps'"),
        ("{oops", "not JSON"),
    ],
)
def test_a_row_that_is_no_question_is_reported_with_its_line_and_the_rest_is_read(
    tmp_path: Path, line: str, what: str
) -> None:
    path = tmp_path / "q.jsonl"
    path.write_text(f'{{"question": "How?", "answers": ["so"]}}\n{line}\n')
    questions, (malformed,) = read_questions(path)
    assert [each.where for each in questions] == [f"{path}:1"]
    assert malformed.where == f"{path}:2"
    assert what in malformed.what
    assert malformed.fix
    path.write_text(f"{line}\n")
    with pytest.raises(InputError, match=r"q\.jsonl:1") as caught:
        read_questions(path)
    assert what in caught.value.what


def test_a_file_without_rows_or_that_is_not_there_is_refused(tmp_path: Path) -> None:
    (tmp_path / "q.jsonl").write_text("\n")
    for name in ("q.jsonl", "absent.jsonl", "q.docx"):
        with pytest.raises(InputError, match=name):
            read_questions(tmp_path / name)
