"""The questions about short business documents: each answer stands where its row says."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

ANSWERS = Path(__file__).parents[2] / "bench/answers"
# Documents, questions about each, and unanswerable questions of each kind.
COUNTS = {
    "business": (20, 5, {"near": 40, "elsewhere": 20}),
    "business_en": (10, 6, {"near": 30, "elsewhere": 10}),
}
for_folders = pytest.mark.parametrize("name", COUNTS)


def documents(name: str) -> dict[str, str]:
    folder = ANSWERS / name / "documents"
    return {path.name: path.read_text(encoding="utf-8") for path in folder.iterdir()}


def rows(name: str, file: str) -> list[dict[str, Any]]:
    text = (ANSWERS / name / file).read_text(encoding="utf-8")
    return [json.loads(line) for line in text.splitlines()]


def is_encodable(text: str, encoding: str) -> bool:
    return text.encode(encoding, errors="ignore").decode(encoding) == text


@for_folders
def test_counts(name: str) -> None:
    n_documents, per_document, kinds = COUNTS[name]
    sources = documents(name).keys()
    questions, unanswerable = rows(name, "questions.jsonl"), rows(name, "unanswerable.jsonl")

    assert len(sources) == n_documents
    assert Counter(row["source"] for row in questions) == dict.fromkeys(sources, per_document)
    assert Counter(row["kind"] for row in unanswerable) == kinds
    near = Counter(row["source"] for row in unanswerable if row["kind"] == "near")
    assert near == dict.fromkeys(sources, kinds["near"] // n_documents)


@for_folders
@pytest.mark.parametrize("key", ["id", "question"])
def test_rows_are_unique(name: str, key: str) -> None:
    both = [*rows(name, "questions.jsonl"), *rows(name, "unanswerable.jsonl")]
    assert max(Counter(row[key] for row in both).values()) == 1


@for_folders
def test_answers_stand_in_their_sentence(name: str) -> None:
    for row in rows(name, "questions.jsonl"):
        assert row["answers"] and all(row["answers"]), row
        assert any(answer in row["sentence"] for answer in row["answers"]), row


@for_folders
def test_sentences_stand_in_one_line_of_their_document_alone(name: str) -> None:
    lines = [
        (source, line) for source, text in documents(name).items() for line in text.split("\n")
    ]
    for row in rows(name, "questions.jsonl"):
        matches = [source for source, line in lines if row["sentence"] in line]
        assert matches == [row["source"]], row


def test_half_of_the_documents_are_traditional() -> None:
    """Big5 has traditional characters only, GB2312 simplified ones only."""
    scripts = Counter(
        (is_encodable(text, "big5"), is_encodable(text, "gb2312"))
        for text in documents("business").values()
    )
    assert scripts == {(True, False): 10, (False, True): 10}


def test_chinese_documents_are_short() -> None:
    for source, text in documents("business").items():
        assert 150 <= len(text) <= 700, source
