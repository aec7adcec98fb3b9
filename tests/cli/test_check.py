from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import moli as package

Moli = Callable[..., Any]
ROWS = (
    {"question": "Which port does the server use?", "answers": ["7860"]},
    {"question": "充满电需要多久？", "answer": "两小时"},
    {"question": "Which port does the server use?", "none": True},
)


@pytest.fixture
def questions(moli: Moli, home: Path) -> Path:
    moli("add", "docs")
    path = home / "questions.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


@pytest.mark.slow
def test_questions_are_checked_in_words_as_json_and_as_a_page(
    moli: Moli, home: Path, questions: Path
) -> None:
    ran = moli("check", "questions.jsonl", "--html", "report.html", "--risk", 0.1)
    assert ran.code == 0
    lines = [" ".join(line.split()) for line in ran.out.splitlines()]
    assert lines[:3] == ["3 questions", "2 answered rightly", "1 answered wrongly"]
    assert "answers are wrong: 33.3%, and at most 86.5% with 95% certainty" in ran.out
    assert "takes 51 right answers or more" in ran.out
    assert "questions.jsonl:3: Which port does the server use?" in ran.out
    page = (home / "report.html").read_text(encoding="utf-8")
    assert "<svg" in page
    assert "The server listens on port 7860." in page
    result = moli("check", "questions.jsonl", "--json").json
    assert (result["answers"], result["wrong"]) == (3, 1)
    assert [each["outcome"] for each in result["questions"]] == ["right", "right", "wrong"]
    assert {"threshold", "answers", "wrong", "coverage"} == set(result["curve"][0])
    with package.Workspace.open(home) as workspace:
        assert workspace.traces.recent() == []
    same = package.check_answers("questions.jsonl", workspace=home)
    assert [each.outcome for each in same.questions] == ["right", "right", "wrong"]


@pytest.mark.slow
def test_the_check_speaks_chinese(
    moli: Moli, questions: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOLI_LANGUAGE", "zh")
    out = moli("check", "questions.jsonl").out
    assert "3 个问题" in out
    assert "回答正确" in out
    assert "校准误差" in out


@pytest.mark.slow
def test_rows_that_are_no_questions_are_skipped_and_told(moli: Moli, questions: Path) -> None:
    with questions.open("a") as file:
        file.write('{"answers": ["x"]}\n')
    ran = moli("check", "questions.jsonl", "--model", "scripted:No idea")
    assert ran.code == 3
    assert "questions.jsonl:4: no 'question'" in ran.err
    assert "not sure, closest sentence right" in ran.out


def test_a_page_that_cannot_be_written_is_refused_before_the_work(
    moli: Moli, questions: Path
) -> None:
    ran = moli("check", "questions.jsonl", "--html", "absent/report.html")
    assert ran.code == 1
    assert "there is no such folder" in ran.err
    before = questions.read_text()
    assert moli("check", "questions.jsonl", "--html", "questions.jsonl").code == 1
    assert questions.read_text() == before
    assert moli("check", "absent.jsonl").code == 1
    assert moli("check", "questions.jsonl", "--risk", 0).code == 2
