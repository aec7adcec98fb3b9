"""The dictionary of Chinese and English."""

from __future__ import annotations

import pytest

from moli.retrieval.dictionary import translated_query, translations
from moli.retrieval.tokens import stem


@pytest.mark.parametrize(
    ("chinese", "english"),
    [
        ("图书馆", "library"),
        ("版本", "version"),
        ("选项", "option"),
        ("电脑", "computer"),
        ("发票", "invoice"),
        ("桥", "bridge"),
    ],
)
def test_words_translate(chinese: str, english: str) -> None:
    assert (stem(english),) in translations(chinese)


@pytest.mark.parametrize(
    ("english", "chinese"),
    [("library", "图书馆"), ("version", "版本"), ("invoice", "发票"), ("holiday", "假日")],
)
def test_stems_translate_back(english: str, chinese: str) -> None:
    assert (chinese,) in translations(stem(english))


def test_a_compound_has_the_translations_of_its_words() -> None:
    assert {("comput",), ("invoic",)} <= translations("电脑发票")


def test_explanations_and_phrases_are_no_translations() -> None:
    """ "Of what use" explains 何济于事, and "surname Wang" is no king."""
    assert all("何济于事" not in each for each in translations("use"))
    assert ("surnam", "wang") not in translations("王")


@pytest.mark.parametrize("term", ["b7", "鿿", "xyzzy", "4417"])
def test_what_no_dictionary_has_has_no_translation(term: str) -> None:
    assert translations(term) == frozenset()


def test_a_query_is_translated_term_by_term_and_codes_stay() -> None:
    library, code = translated_query("图书馆 B7")
    assert "librari" in library
    assert code == ("b7",)
    (first, *_) = translated_query("library")
    assert "图书馆" in first
