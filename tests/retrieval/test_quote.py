from __future__ import annotations

import re
import unicodedata

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from moli.retrieval.quote import find_quote

IDEOGRAPH = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f]")
PAIRS = {
    "“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "‘": "'", "’": "'",
    "–": "-", "—": "-", "‐": "-", "‑": "-", "−": "-", "\u00ad": "", "\u200b": "",
}  # fmt: skip
WORDS = st.text(
    st.sampled_from("abcdefg   \n\t\u00a0.,-–—“”\"'’\u00ad\u200b中文，。①ﬁ½é") | st.characters(),
    max_size=60,
)


def normalised(text: str) -> str:
    """An account of what may differ, written apart from the one under test."""
    mapped = "".join(unicodedata.normalize("NFKC", character) for character in text)
    mapped = "".join(PAIRS.get(character, character) for character in mapped)
    return " ".join(mapped.split())


def mapped(text: str) -> str:
    """`text` in plain marks, its white space as it is."""
    plain = "".join(unicodedata.normalize("NFKC", character) for character in text)
    return "".join(PAIRS.get(character, character) for character in plain)


def parts_a_word(text: str, at: int) -> bool:
    """Whether a word or a number goes on across `at`; an ideograph is a word of its own."""
    before, after = mapped(text[:at]), mapped(text[at:])

    def is_word(character: str) -> bool:
        return (character.isalnum() or character == "_") and not IDEOGRAPH.match(character)

    if before and after and is_word(before[-1]) and is_word(after[0]):
        return True
    fraction = r"\d[.,]$", r"\d"
    whole = r"\d$", r"[.,]\d"
    return any(re.search(a, before) and re.match(b, after) for a, b in (fraction, whole))


def cut(text: str, data: st.DataObject) -> str:
    """A part of a text that begins and ends between words."""
    start = data.draw(st.integers(0, len(text)))
    end = data.draw(st.integers(start, len(text)))
    while start < end and not mapped(text[start]).strip():
        start += 1
    while start < end and not mapped(text[end - 1]).strip():
        end -= 1
    assume(start < end and not parts_a_word(text, start) and not parts_a_word(text, end))
    return text[start:end]


def quoted(text: str, quote: str) -> str | None:
    place = find_quote(text, quote)
    return None if place is None else text[slice(*place)]


def test_a_quote_is_found_where_it_stands() -> None:
    assert find_quote("It listens on port 7860 by default.", "port 7860") == (14, 23)
    assert find_quote("充满电需要两小时。", "需要两小时") == (3, 8)


def test_space_around_a_quote_is_not_part_of_it() -> None:
    assert find_quote("It listens.", "  listens \n") == (3, 10)


@pytest.mark.parametrize(
    ("text", "quote", "place"),
    [
        ("It  listens\n on   port", "listens on port", "listens\n on   port"),
        ("He said “stop” — twice", 'said "stop" - twice', "said “stop” — twice"),
        ("It’s the user's", "It's the user’s", "It’s the user's"),
        ("well\u00adknown fact", "wellknown", "well\u00adknown"),
        ("ＡＢＣ１２３ works", "ABC123", "ＡＢＣ１２３"),
        ("the oﬃce door", "office door", "oﬃce door"),
        ("a\u00a0non-breaking space", "a non‑breaking", "a\u00a0non-breaking"),
    ],
)
def test_marks_and_spaces_may_differ_in_kind(text: str, quote: str, place: str) -> None:
    assert quoted(text, quote) == place


@pytest.mark.parametrize(
    "quote",
    [
        "",
        "  ",
        "\u00ad\u200b",
        "port 7861",
        "Port 7860",
        "listens port",
        "listens ... port",
        "listens on port 7860 always",
        "listenson",
        "it listens",
    ],
)
def test_a_quote_that_says_anything_else_is_refused(quote: str) -> None:
    assert find_quote("It listens on port 7860 by default.", quote) is None


@pytest.mark.parametrize(
    ("text", "quote"),
    [
        ("The fee is 50 euros.", "The fee is 5"),
        ("It costs 15 euros.", "5 euros"),
        ("The party is over.", "art"),
        ("Version 2.10 is out", "Version 2.1"),
        ("Smoking is disallowed here", "allowed here"),
    ],
)
def test_a_quote_does_not_end_inside_a_word_or_number(text: str, quote: str) -> None:
    assert find_quote(text, quote) is None


def test_chinese_is_quoted_from_any_character_to_any_other() -> None:
    assert quoted("充满电需要两小时。", "电需要两") == "电需要两"


@pytest.mark.slow
@given(WORDS, st.data())
def test_any_part_of_a_text_is_found_at_a_place_that_says_the_same(
    text: str, data: st.DataObject
) -> None:
    quote = cut(text, data)
    place = quoted(text, quote)
    assert place is not None
    assert normalised(place) == normalised(quote)


@given(WORDS, st.data())
def test_any_part_with_plain_marks_and_other_spacing_is_found(
    text: str, data: st.DataObject
) -> None:
    # Characters that stand for several are left out: a quote may end in the midst of one.
    text = "".join(c for c in text if len(unicodedata.normalize("NFKC", c)) == 1)
    words = text.split()
    assume(words)
    first = data.draw(st.integers(0, len(words) - 1))
    last = data.draw(st.integers(first, len(words) - 1))
    gap = data.draw(st.sampled_from([" ", "\n", "  \t", "\u3000"]))
    quote = gap.join(words[first : last + 1])
    assume(normalised(quote))
    # A word of invisible marks alone leaves its spaces beside each other, on one side only.
    assume(all(normalised(word) for word in words[first : last + 1]))
    place = quoted(text, normalised(quote))
    assert place is not None
    assert normalised(place) == normalised(quote)


@given(WORDS, st.data())
def test_a_part_with_one_letter_changed_is_refused(text: str, data: st.DataObject) -> None:
    start = data.draw(st.integers(0, len(text)))
    quote = text[start : data.draw(st.integers(start, len(text)))]
    assume(quote)
    at = data.draw(st.integers(0, len(quote) - 1))
    altered = quote[:at] + data.draw(st.sampled_from("xyz7")) + quote[at + 1 :]
    assume(normalised(altered) not in normalised(text))
    assert find_quote(text, altered) is None
