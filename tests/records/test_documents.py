from __future__ import annotations

import pytest

from moli.records.documents import Timestamp, page_at, text_with_context, time_at


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
    ("offset", "time"),
    [(0, "00:02"), (9, "00:02"), (10, "03:12"), (19, "03:12"), (20, "1:02:03"), (500, "11:00:00")],
)
def test_a_time_holds_until_the_next(offset: int, time: str) -> None:
    # 3,723 s are 1 h, 2 min and 3 s; a time is cut to whole seconds, so nothing is said before it.
    seconds = {3: 2.0, 10: 192.96, 20: 3723.5, 30: 11 * 3600.0}
    times = tuple(Timestamp(*each) for each in seconds.items())
    assert time_at(times, offset) == time
    assert time_at((), offset) is None


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
