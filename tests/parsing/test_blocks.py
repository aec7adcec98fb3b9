import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moli.parsing.blocks import Blocks, collapse_whitespace
from moli.records.documents import Timestamp, page_at

texts = st.text(max_size=40)
steps = st.lists(
    st.one_of(
        st.tuples(st.just("begin_page"), st.just("")),
        st.tuples(
            st.sampled_from(
                ["add_heading", "add_paragraph", "add_item", "add_row", "add_preformatted"]
            ),
            texts,
        ),
        st.tuples(st.just("end_group"), st.just("")),
    ),
    max_size=30,
)


def build(actions: list[tuple[str, str]]) -> Blocks:
    blocks = Blocks()
    for kind, text in actions:
        if kind in ("begin_page", "end_group"):
            getattr(blocks, kind)()
        elif kind == "add_row":
            blocks.add_row([text, text[::-1]])
        else:
            getattr(blocks, kind)(text)
    return blocks


@pytest.mark.slow
@given(steps)
def test_headings_and_pages_point_into_the_text(actions: list[tuple[str, str]]) -> None:
    document = build(actions).build()
    for heading in document.headings:
        assert document.text[heading.offset :].startswith(heading.text)
        before = document.text[: heading.offset]
        assert not before or before.endswith("\n\n")
    assert list(document.pages) == sorted(document.pages)
    assert len(document.pages) == sum(kind == "begin_page" for kind, _ in actions)
    assert all(0 <= offset <= len(document.text) for offset in document.pages)


@given(steps)
def test_text_is_canonical(actions: list[tuple[str, str]]) -> None:
    text = build(actions).build().text
    assert unicodedata.is_normalized("NFC", text)
    assert not any(
        unicodedata.category(letter) in ("Cc", "Cs") for letter in text if letter != "\n"
    )
    assert "\n\n\n" not in text
    assert text == text.strip("\n")


@given(st.lists(texts.filter(lambda text: collapse_whitespace(text) != ""), min_size=1, max_size=8))
def test_each_page_holds_what_was_put_on_it(paragraphs: list[str]) -> None:
    blocks = Blocks()
    for paragraph in paragraphs:
        blocks.begin_page()
        blocks.add_paragraph(paragraph)
        blocks.begin_page()  # An empty page between.
    document = blocks.build()
    for number, paragraph in enumerate(paragraphs):
        offset = document.pages[2 * number]
        assert document.text[offset:].startswith(collapse_whitespace(paragraph))
        assert page_at(document.pages, offset) == 2 * number + 1


@given(st.lists(texts.filter(lambda text: collapse_whitespace(text) != ""), min_size=1, max_size=8))
def test_each_time_is_where_its_part_begins(parts: list[str]) -> None:
    blocks = Blocks()
    blocks.add_paragraph("before")
    starts = [sum(len(each) + 1 for each in parts[:number]) for number in range(len(parts))]
    times = [Timestamp(start, number) for number, start in enumerate(starts)]
    blocks.add_paragraph(" ".join(parts), times=times)
    document = blocks.build()
    for part, time in zip(parts, document.times, strict=True):
        assert document.text[time.offset :].startswith(collapse_whitespace(part).split()[0])


def test_items_and_rows_stand_on_consecutive_lines() -> None:
    blocks = Blocks()
    blocks.add_item("one")
    blocks.add_item("two\nlines", "2. ", 1)
    blocks.add_row(["a", "", "b", ""])
    blocks.add_row(["c"])
    blocks.end_group()
    blocks.add_row(["d"])
    assert blocks.build().text == "- one\n  2. two\nlines\n\na |  | b\nc\n\nd"


def test_what_carries_no_text_is_removed() -> None:
    assert (
        collapse_whitespace("so\u00adft\u200b\x00 \ufeffe\u0301\u2028\x0bnext\u00a0word ")
        == "soft é\nnext word"
    )
