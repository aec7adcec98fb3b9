import pytest

from moli.parsing.pages.prose import join_lines, whole_words


@pytest.mark.parametrize(
    ("lines", "joined"),
    [
        (["two lines", "of text"], "two lines of text"),
        (["每个答案都可以", "追溯到来源。"], "每个答案都可以追溯到来源。"),
        (["支持 PDF 和", "Word 文件"], "支持 PDF 和 Word 文件"),
        (["an impor-", "tant word"], "an important word"),
        (["an impor\u00ad", "tant word"], "an important word"),
        (["the state-of-the-", "art method"], "the state-of-the-art method"),
        (["from 1990-", "1995"], "from 1990-1995"),
        (["Jean-", "Paul"], "Jean-Paul"),
        (["", "a"], "a"),
    ],
)
def test_lines_become_sentences(lines: list[str], joined: str) -> None:
    assert join_lines(lines, whole_words(lines)) == joined


def test_a_compound_of_known_words_keeps_its_hyphen() -> None:
    known = whole_words(["it is self made", "the locking nut"])
    assert join_lines(["a self-", "locking nut"], known) == "a self-locking nut"
    assert join_lines(["a self-", "locking nut"], known | {"selflocking"}) == "a selflocking nut"


def test_halves_of_divided_words_are_not_words() -> None:
    assert whole_words(["impor-", "tant thing"]) == {"thing"}
