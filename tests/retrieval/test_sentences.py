from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moli.retrieval.sentences import sentence_spans

TEXTS = st.text(
    st.sampled_from("aB1 .!?…\n\t。！？；”’\"')]（《「中文。 　Mr.No") | st.characters()
)


@pytest.mark.parametrize(
    "sentences",
    [
        ["It rains.", "It pours!", "Does it stop?", "No…"],
        ["Dr. Smith met Mr. Jones at 5 p.m. sharp.", "They left."],
        ["See Fig. 3 and Eq. 4.", "Then stop."],
        ["J. K. Rowling wrote it.", "We read it."],
        ["It costs 3.50 euros.", "Version 2.0 is out."],
        ["He said “Stop!”", "She did not."],
        ['"Why?" she asked.', '"Because."'],
        ["It works, e.g. Here and i.e. There.", "Done."],
        ["Wait... what happened?", "Nothing."],
    ],
)
def test_english_sentences_end_where_a_reader_would_say(sentences: list[str]) -> None:
    text = " ".join(sentences)
    assert [text[start:end] for start, end in sentence_spans(text)] == sentences


@pytest.mark.parametrize(
    "sentences",
    [
        ["今天下雨。", "你带伞了吗？", "没有！"],
        ["他说：“走吧。”", "我们走了。"],
        ["第一；", "第二；", "第三。"],
        ["真的吗？！", "真的……", "好。"],
        ["（见附录。）", "完。"],
        ["价格为3.5元。", "谢谢"],
    ],
)
def test_chinese_sentences_end_at_their_marks_without_a_space(sentences: list[str]) -> None:
    text = "".join(sentences)
    assert [text[start:end] for start, end in sentence_spans(text)] == sentences


def test_a_blank_line_ends_a_sentence_that_has_no_mark() -> None:
    text = "A heading\n \n\nThe text goes on\nover two lines."
    assert [text[start:end] for start, end in sentence_spans(text)] == [
        "A heading",
        "The text goes on\nover two lines.",
    ]


@pytest.mark.parametrize("text", ["", " \n\t ", "\n\n\n"])
def test_white_space_has_no_sentences(text: str) -> None:
    assert sentence_spans(text) == []


def test_a_line_of_dots_is_read_in_one_go() -> None:
    leader = "." * 200_000  # in quadratic time this test would take minutes
    assert sentence_spans(leader) == [(0, len(leader))]


@given(TEXTS)
def test_spans_are_in_order_apart_trimmed_and_hold_every_word(text: str) -> None:
    spans = sentence_spans(text)
    edges = [edge for span in spans for edge in span]
    assert edges == sorted(edges)
    for start, end in spans:
        assert text[start:end] == text[start:end].strip() != ""
    covered = {offset for start, end in spans for offset in range(start, end)}
    assert not any(text[i].strip() for i in range(len(text)) if i not in covered)
