from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from moli.console.excerpt import excerpt

offsets = st.integers(-5, 130)


@given(st.text(max_size=120), offsets, offsets, st.integers(1, 60))
def test_an_excerpt_is_the_document_around_the_quote_and_never_too_long(
    text: str, start: int, end: int, longest: int
) -> None:
    shown = excerpt(text, start, end, longest)
    whole = shown.before + shown.marked + shown.after
    assert whole == text[shown.first : shown.last]
    assert len(whole) == min(longest, len(text))
    assert shown.is_part == (len(text) > longest)
    if 0 <= start <= end <= min(len(text), start + longest):
        assert shown.marked == text[start:end]


def test_a_short_document_is_shown_whole() -> None:
    shown = excerpt("one two three", 4, 7)
    assert (shown.before, shown.marked, shown.after) == ("one ", "two", " three")
    assert not shown.is_part


def test_a_quote_in_the_middle_stands_in_the_middle_of_the_excerpt() -> None:
    shown = excerpt("a" * 500 + "quote" + "b" * 500, 500, 505, longest=105)
    assert (len(shown.before), len(shown.after)) == (50, 50)
