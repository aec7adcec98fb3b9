from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moli.retrieval.tokens import fold, key_terms, language_of, query_terms, tokenize


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("", []),
        (" ,.!? — ", []),
        ("The Cats' running", ["the", "cat", "run"]),
        ("snake_case and x-ray", ["snake", "case", "and", "x", "ray"]),
        ("Version 2.10, 0x7F", ["version", "2", "10", "0x7f"]),
        ("Straße ÉCOLE", ["strass", "école"]),
        ("Ｆｕｌｌ－ｗｉｄｔｈ １２３", ["full", "width", "123"]),
        ("ﬁre ① ²", ["fire", "1", "2"]),
        ("café", tokenize("cafe\u0301")),  # composed and decomposed
        ("Москва", ["москва"]),
    ],
)
def test_words_are_folded_split_and_stemmed(text: str, terms: list[str]) -> None:
    assert tokenize(text) == terms


def test_chinese_gives_characters_bigrams_and_words() -> None:
    result = Counter(tokenize("充电时间"))
    assert all(result[each] >= 1 for each in "充电时间")
    assert all(result[each] >= 1 for each in ("充电", "电时", "时间"))
    assert result["充电"] == result["时间"] == 2  # once as a bigram, once as a word
    assert result["电时"] == 1


def test_chinese_and_latin_in_one_text_are_each_split_their_way() -> None:
    terms = tokenize("使用USB充电")
    assert "usb" in terms
    assert {"使用", "充电", "使", "电"} <= set(terms)
    assert "b充" not in "".join(terms).replace("usb", "|")


def test_forms_of_a_word_and_of_a_width_meet() -> None:
    assert tokenize("connections") == tokenize("CONNECTION") == tokenize("ｃｏｎｎｅｃｔｅｄ")


def test_both_scripts_and_both_vocabularies_of_chinese_meet() -> None:
    assert tokenize("圖書館幾點關門？") == tokenize("图书馆几点关门？")
    assert "软件" in set(tokenize("軟體")) & set(tokenize("软件"))
    assert query_terms("網路故障") == query_terms("网路故障")
    assert key_terms("誰負責網路故障？") == key_terms("谁负责网络故障？")
    assert fold("ＵＳＢ 隨身碟") == "usb 随身碟"


def test_a_word_inside_of_a_longer_one_is_a_term_too() -> None:
    assert {"市图书馆", "图书馆"} <= set(tokenize("市图书馆"))


def test_contractions_are_their_words() -> None:
    assert tokenize("It isn't John’s; I can't") == tokenize("It is not John; I can not")
    assert tokenize("won't, we've, B7's") == tokenize("will not, we, B7")


def test_key_terms_of_chinese_are_words_without_function_words() -> None:
    assert key_terms("陈晓的分机号是多少？") == ["陈晓", "分机号"]
    assert key_terms("年假能不能折现") == ["年", "假", "折现"]  # the dictionary lacks 年假


def test_words_that_only_put_the_question_are_dropped() -> None:
    assert query_terms("What is the capital of France?") == ["capit", "franc"]
    assert "什么" not in query_terms("什么是电池")
    assert "电池" in query_terms("什么是电池")


def test_a_query_of_nothing_else_keeps_its_words() -> None:
    assert query_terms("who is it") == ["who", "is", "it"]
    assert query_terms("?!") == []


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("", "en"),
        ("12345 !!", "en"),
        ("An English sentence.", "en"),
        ("一个中文句子。", "zh"),
        ("请问 Kubernetes 是什么", "zh"),
        ("The word 道 means way, and it is old indeed.", "en"),
        ("一" + "a" * 6, "en"),  # one in seven letters is under 15%
        ("一" + "a" * 5, "zh"),  # one in six is over it
    ],
)
def test_the_language_is_that_of_its_letters(text: str, language: str) -> None:
    assert language_of(text) == language


@given(st.text())
def test_terms_hold_no_space_and_are_never_empty(text: str) -> None:
    # The index parts them at white space, so one inside a term would make two of it.
    for term in tokenize(text):
        assert term.split() == [term]


@given(st.text(st.characters(codec="utf-8")), st.text(st.characters(codec="utf-8")))
def test_texts_set_apart_give_the_terms_of_each(first: str, second: str) -> None:
    assert tokenize(f"{first} | {second}") == tokenize(first) + tokenize(second)
