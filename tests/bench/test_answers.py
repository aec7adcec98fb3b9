"""The sets of questions in bench/answers fit the pages and files that they are about."""

from __future__ import annotations

import json
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import openpyxl
import pytest
from docs.pages import ROOT

ANSWERS = ROOT / "bench" / "answers"
CASES = sorted((ANSWERS / "cases").iterdir())
LANGUAGES = ("en", "zh")

each_language = pytest.mark.parametrize("language", LANGUAGES)
each_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def rows_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


ACROSS = rows_of(ANSWERS / "across.jsonl")


def text_of(path: Path) -> str:
    """The text of a file; a workbook's is its cells, one row a line."""
    if path.suffix != ".xlsx":
        return path.read_text(encoding="utf-8")
    rows = openpyxl.load_workbook(path).active.values
    return "\n".join("\t".join(str(cell) for cell in row) for row in rows)


def files_of(case: Path) -> dict[str, str]:
    """Texts of a case's files by their paths in it."""
    folder = case / "files"
    paths = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): text_of(path) for path in paths}


def removed_from(case: Path) -> list[str]:
    """Patterns of the files that a case removes."""
    steps = case / "steps.json"
    return json.loads(steps.read_text(encoding="utf-8"))["remove"] if steps.exists() else []


def test_questions_across_languages_are_a_hundred_with_ids_of_their_own() -> None:
    assert [row["id"] for row in ACROSS] == [f"a{number:03}" for number in range(1, 101)]
    for language in LANGUAGES:
        assert len({row[language] for row in ACROSS}) == 100


@each_language
def test_questions_are_on_pages_all_over_the_documentation(language: str) -> None:
    """Pages that were written after the questions have none."""
    pages = {page.name for page in (ROOT / "docs" / language).glob("*.md")}
    sources = {row["source"] for row in ACROSS}
    assert sources <= pages
    assert len(sources) >= 12


@each_language
@pytest.mark.parametrize("row", ACROSS, ids=lambda row: row["id"])
def test_an_answer_stands_once_on_its_page_and_on_no_other(
    row: dict[str, str], language: str
) -> None:
    pages = (ROOT / "docs" / language).glob("*.md")
    counts = {page.name: text_of(page).count(row[f"answer_{language}"]) for page in pages}
    assert {name: count for name, count in counts.items() if count} == {row["source"]: 1}


def test_there_are_forty_cases_with_questions_of_both_kinds() -> None:
    rows = [row for case in CASES for row in rows_of(case / "q.jsonl")]
    assert len(CASES) == 40
    assert len(rows) >= 200
    assert sum("none" in row for row in rows) >= 80


@each_case
def test_a_case_has_files_and_three_to_eight_questions(case: Path) -> None:
    rows = rows_of(case / "q.jsonl")
    assert all(files_of(case).values())
    assert 3 <= len({row["q"] for row in rows}) == len(rows) <= 8
    for row in rows:
        assert row.keys() <= {"q", "want", "not"} or row == {"q": row["q"], "none": True}
        assert bool(row.get("want")) != row.get("none", False)


@each_case
def test_answers_stand_in_files_that_a_case_keeps(case: Path) -> None:
    files, removed = files_of(case), removed_from(case)
    kept = {
        path: text
        for path, text in files.items()
        if not any(fnmatch(path, pattern) for pattern in removed)
    }
    for row in rows_of(case / "q.jsonl"):
        assert not row.get("want") or any(
            all(part in text for part in row["want"]) for text in kept.values()
        )
        assert all(any(part in text for text in files.values()) for part in row.get("not", []))


def test_removal_cases_remove_some_of_their_files() -> None:
    cases = [case for case in CASES if removed_from(case)]
    assert {case.name.split("-")[0] for case in cases} == {"removal"}
    for case in cases:
        for pattern in removed_from(case):
            matching = [path for path in files_of(case) if fnmatch(path, pattern)]
            assert 0 < len(matching) < len(files_of(case))
