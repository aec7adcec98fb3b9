from __future__ import annotations

from dataclasses import fields
from string import Formatter

import pytest

from moli.console.elements import DocumentLocation
from moli.console.translations import CHINESE, ENGLISH, translation_for


@pytest.mark.parametrize(
    ("header", "language"),
    [
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh-CN"),
        ("en-GB,en;q=0.9,zh;q=0.8", "en-US"),
        ("en;q=0.1, zh-Hant-TW;q=0.2", "zh-CN"),
        ("fr,de;q=0.5", "en-US"),
        ("fr, zh;q=0.1", "zh-CN"),
        ("zh;q=0, en;q=0.1", "en-US"),
        ("zh;q=much", "en-US"),
        ("", "en-US"),
    ],
)
def test_the_browsers_preferred_language_is_chosen(header: str, language: str) -> None:
    assert translation_for(header).language == language


@pytest.mark.parametrize("name", [each.name for each in fields(ENGLISH)])
def test_both_languages_fill_in_the_same_names(name: str) -> None:
    def names(text: str) -> set[str | None]:
        return {field for _, field, _, _ in Formatter().parse(text)} - {None}

    assert names(getattr(ENGLISH, name)) == names(getattr(CHINESE, name))


def test_documents_are_counted_in_the_singular_and_the_plural() -> None:
    assert [ENGLISH.count_label(n) for n in (0, 1, 1234)] == [
        "0 documents",
        "1 document",
        "1,234 documents",
    ]


def test_a_place_is_a_page_or_a_time_and_a_heading() -> None:
    page = DocumentLocation(1, "Manual", "a.pdf", heading="Power", page=3)
    time = DocumentLocation(2, "Talk", "talk.flac", time="03:12")
    assert [ENGLISH.place_label(each) for each in (page, time)] == ["page 3 · Power", "03:12"]
    assert [CHINESE.place_label(each) for each in (page, time)] == ["第 3 页 · Power", "03:12"]
