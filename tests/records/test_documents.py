from __future__ import annotations

import pytest

from moli.records.documents import page_at, text_with_context


@pytest.mark.parametrize(
    ("pages", "offset", "page"),
    [
        ((), 5, None),
        ((0, 10, 20), 0, 1),
        ((0, 10, 20), 9, 1),
        ((0, 10, 20), 10, 2),
        ((0, 10, 20), 25, 3),
        ((3, 10), 0, 1),  # what stands before the first page's beginning belongs to it
        ((0, 10, 10, 20), 10, 3),  # an empty page holds nothing
    ],
)
def test_a_page_holds_what_stands_between_its_beginning_and_the_next(
    pages: tuple[int, ...], offset: int, page: int | None
) -> None:
    assert page_at(pages, offset) == page


@pytest.mark.parametrize(
    ("title", "heading", "text", "seen"),
    [
        ("Manual", "Power", " It charges. \n", "Manual\nPower\nIt charges."),
        ("Manual", "Manual", "It charges.", "Manual\nIt charges."),
        ("Manual", "", "The Manual says so.", "The Manual says so."),
        ("", "", "Alone.", "Alone."),
    ],
)
def test_a_passage_is_led_by_what_its_text_does_not_say_itself(
    title: str, heading: str, text: str, seen: str
) -> None:
    assert text_with_context(title, heading, text) == seen
