"""The questions for fitting evidence: each sentence and answer stands where its row says."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

DATA = Path(__file__).parents[2] / "bench/evidence_data"
# Documents, then questions: answerable, near misses, and from elsewhere.
COUNTS = {"en": (16, 140, 60, 30), "zh": (24, 200, 80, 40)}
each_language = pytest.mark.parametrize("language", COUNTS)


def documents(language: str) -> dict[str, str]:
    return {path.name: path.read_text(encoding="utf-8") for path in (DATA / language).iterdir()}


def rows(language: str) -> list[dict[str, Any]]:
    text = (DATA / f"{language}.jsonl").read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


@each_language
def test_counts(language: str) -> None:
    answerable = [row for row in rows(language) if "none" not in row]
    near = [row["near"] for row in rows(language) if "none" in row]
    counts = (len(answerable), sum(map(bool, near)), near.count(""))
    assert (len(documents(language)), *counts) == COUNTS[language]


@each_language
@pytest.mark.parametrize("key", ["id", "question"])
def test_rows_are_unique(language: str, key: str) -> None:
    assert max(Counter(row[key] for row in rows(language)).values()) == 1


@each_language
def test_each_document_has_questions_of_both_kinds(language: str) -> None:
    names = documents(language).keys()
    assert {row["source"] for row in rows(language) if "none" not in row} == names
    assert {row["near"] for row in rows(language) if "none" in row} - {""} == names


@each_language
def test_answers_stand_in_their_sentence_and_it_in_one_line_alone(language: str) -> None:
    lines = [
        (name, line) for name, text in documents(language).items() for line in text.splitlines()
    ]
    for row in rows(language):
        if "none" not in row:
            assert row["answers"] and all(row["answers"]), row
            assert all(answer in row["sentence"] for answer in row["answers"]), row
            matches = [name for name, line in lines if row["sentence"] in line]
            assert matches == [row["source"]], row


def test_ten_chinese_documents_are_traditional_and_all_are_short() -> None:
    texts = documents("zh").values()
    assert all(120 <= len(text) <= 600 for text in texts)
    # GB2312 has simplified characters only.
    assert sum(text.encode("gb2312", "ignore").decode("gb2312") != text for text in texts) == 10
