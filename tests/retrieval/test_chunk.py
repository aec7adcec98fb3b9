from __future__ import annotations

import itertools
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moli.records.documents import Chunk, Heading, ParsedDocument
from moli.retrieval import chunk as chunk_module
from moli.retrieval.chunk import MAX_WEIGHT, MIN_WEIGHT, chunk_document

IDEOGRAPH = re.compile("[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f]")

PIECES = st.sampled_from(
    [
        "word ",
        "longer, words ",
        "End. ",
        "Stop!\n",
        "\n\n",
        "\n \n",
        "中文句子。",
        "很长的中文，",
        "x",
    ]
)
TEXTS = st.lists(st.tuples(PIECES | st.text(max_size=8), st.integers(1, 400)), max_size=12).map(
    lambda pairs: "".join(piece * count for piece, count in pairs)
)


def weight(text: str) -> int:
    """Latin characters; an ideograph counts as three."""
    return len(text) + 2 * len(IDEOGRAPH.findall(text))


@st.composite
def documents(draw: st.DrawFn) -> ParsedDocument:
    text = draw(TEXTS)
    offsets = draw(st.lists(st.integers(0, len(text)), max_size=6, unique=True))
    headings = tuple(
        Heading(offset, draw(st.integers(1, 4)), f"H{offset}") for offset in sorted(offsets)
    )
    return ParsedDocument(text, headings=headings)


def path_at(headings: tuple[Heading, ...], offset: int) -> str:
    """The heading path, by walking every heading up to the offset."""
    path: dict[int, str] = {}
    for heading in headings:
        if heading.offset <= offset:
            path = {level: text for level, text in path.items() if level < heading.level}
            path[heading.level] = heading.text
    return " > ".join(path[level] for level in sorted(path))


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(documents())
def test_chunks_tile_any_text_exactly(document: ParsedDocument) -> None:
    chunks = chunk_document(document)
    if not document.text.strip():
        assert chunks == []
        return
    assert chunks[0].start == 0
    assert chunks[-1].end == len(document.text)
    assert all(a.end == b.start for a, b in itertools.pairwise(chunks))
    assert all(each.end > each.start for each in chunks)


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(documents())
def test_no_chunk_is_heavier_than_allowed(document: ParsedDocument) -> None:
    for chunk in chunk_document(document):
        assert weight(document.text[chunk.start : chunk.end]) <= MAX_WEIGHT


@pytest.mark.slow
@settings(max_examples=150, deadline=None)
@given(documents())
def test_every_chunk_knows_the_headings_it_begins_under(document: ParsedDocument) -> None:
    for chunk in chunk_document(document):
        assert chunk.heading == path_at(document.headings, chunk.start)


def test_a_short_text_is_one_chunk() -> None:
    assert chunk_document(ParsedDocument("A few words.\n\nAnd more.")) == [Chunk(0, 23, "")]


def test_a_section_begins_a_chunk_once_the_one_before_is_worth_it() -> None:
    short, long = "a" * (MIN_WEIGHT // 2), "b" * MIN_WEIGHT
    text = f"{short}\n\nSecond\n\n{long}\n\nThird\n\nEnd."
    second, third = text.index("Second"), text.index("Third")
    headings = (Heading(0, 1, "First"), Heading(second, 1, "Second"), Heading(third, 1, "Third"))
    assert chunk_document(ParsedDocument(text, headings=headings)) == [
        Chunk(0, third, "First"),
        Chunk(third, len(text), "Third"),
    ]


def test_sentences_are_kept_whole_where_they_fit() -> None:
    sentence = "This sentence is of a middling length and stays in one piece. "
    text = sentence * 60
    for chunk in chunk_document(ParsedDocument(text)):
        assert text[chunk.start : chunk.end].startswith("This")
        assert text[chunk.start : chunk.end].rstrip().endswith("piece.")


def test_a_word_is_not_cut_where_there_is_a_space_to_cut_at() -> None:
    text = "wordword " * 800
    for chunk in chunk_document(ParsedDocument(text)):
        assert (chunk.end - chunk.start) % 9 == 0


def test_chinese_chunks_hold_a_third_of_the_characters() -> None:
    text = "字" * 5000
    sizes = [each.end - each.start for each in chunk_document(ParsedDocument(text))]
    assert max(sizes) <= MAX_WEIGHT // 3
    assert min(sizes[:-1]) > MAX_WEIGHT // 3 - 4


def test_the_work_grows_with_the_text_not_with_its_square(monkeypatch: pytest.MonkeyPatch) -> None:
    weighed = 0
    original = chunk_module._weight

    def counting(text: str) -> int:
        nonlocal weighed
        weighed += len(text)
        return original(text)

    monkeypatch.setattr(chunk_module, "_weight", counting)
    text = "word " * 40_000
    chunk_document(ParsedDocument(text))
    assert weighed < 10 * len(text)


def test_chunks_inside_a_table_know_its_header() -> None:
    header = "Policy | Holder | Premium"
    rows = [f"P-{number:04} | Holder {number} | {1000 + number}" for number in range(200)]
    text = "\n".join(["Policies", "", header, *rows, "", "The end."])
    chunks = chunk_document(ParsedDocument(text, headings=(Heading(0, 1, "Policies"),)))
    assert len(chunks) > 3
    assert [chunk.heading for chunk in chunks[:-1]] == [
        "Policies", *[f"Policies > {header}"] * (len(chunks) - 2)
    ]  # fmt: skip
    data = "\n".join(f"{number} | {number + 1} | word" for number in range(500))
    assert {chunk.heading for chunk in chunk_document(ParsedDocument(data))} == {""}


def test_each_slide_is_a_chunk() -> None:
    slides = ["Launch\n\nIn October.", "Costs\n\nFell by 18 percent.", "No title here.", "Last"]
    starts = [sum(len(each) + 2 for each in slides[:n]) for n in range(len(slides))]
    document = ParsedDocument(
        "\n\n".join(slides),
        pages=tuple(starts),
        headings=(Heading(0, 1, "Launch"), Heading(starts[1], 1, "Costs")),
    )
    assert [chunk.start for chunk in chunk_document(document)] == starts


def test_a_page_of_text_does_not_end_a_chunk() -> None:
    first, second = "First page of the text. " * 20, "Second page of the text. " * 20
    document = ParsedDocument(f"{first}\n\n{second}", pages=(0, len(first) + 2))
    assert len(chunk_document(document)) == 1
