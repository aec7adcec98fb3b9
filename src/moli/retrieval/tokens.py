"""Tokenization of texts into index terms, the same for documents and queries.

Latin-script words are case-folded and stemmed (Snowball English). A run of Chinese
gives its characters, its bigrams and its jieba words: characters and bigrams make sure that every
match is found, words improve the ranking.
"""

import functools
import logging
import re
import unicodedata
from collections.abc import Iterator
from typing import Literal, get_args

import Stemmer

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = get_args(Language)

CJK = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"
_RUN = re.compile(rf"(?P<cjk>[{CJK}]+)|[^\W_{CJK}]+", re.UNICODE)
_CJK_CHAR = re.compile(rf"[{CJK}]")
_LETTER = re.compile(r"[^\W\d_]")
# Words that tell nothing of a question's subject; English ones are stemmed.
_FUNCTION_WORDS = frozenset(
    """
    a an and are as at be been but by did do doe for from had has have he her his how i if in into
    is it it of on or s so such that the their them then there these they this to was we were what
    when where which who whom whose whi will with would you your
    的 了 是 在 有 和 什 么 什么 哪 哪些 哪个 谁 多少 几 何 怎么 怎样 如何 为何 为什么 请问
    多久 多长 多大 多远 几点 吗 呢 要 能 可以
    """.split()  # noqa: SIM905
)
_stemmer = Stemmer.Stemmer("english")
_stemmer.maxCacheSize = 0  # `_stem` caches, and does not hold a second copy


def language_of(text: str) -> Language:
    """The language of a text: Chinese if ideographs make up over 15% of its letters.

    An ideograph carries about as much as half an English word, so a mixed text counts as Chinese
    well before ideographs are in the majority.
    """
    letters = len(_LETTER.findall(text))
    return "zh" if letters and len(_CJK_CHAR.findall(text)) / letters > 0.15 else "en"


def tokenize(text: str) -> list[str]:
    """Index terms of a text, in order and with repetitions."""
    return list(_terms(unicodedata.normalize("NFKC", text).casefold()))


def query_terms(text: str) -> list[str]:
    """Terms to look up in the lexical index for a query.

    The terms of `tokenize` without function words, unless the query has only function words.
    """
    terms = tokenize(text)
    return [term for term in terms if term not in _FUNCTION_WORDS] or terms


def key_terms(text: str) -> list[str]:
    """Words of a question that a sentence with the answer is likely to share.

    They are stems of English and whole jieba words of Chinese, none of which overlap, without
    function words unless the question has only function words.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    terms = [
        term
        for match in _RUN.finditer(folded)
        for term in (
            _chinese_segmenter().cut(match.group())
            if match.lastgroup == "cjk"
            else (_stem(match.group()),)
        )
    ]
    return [term for term in terms if term not in _FUNCTION_WORDS] or terms


def _terms(text: str) -> Iterator[str]:
    """Index terms of a text that is normalized and case-folded already."""
    for match in _RUN.finditer(text):
        run = match.group()
        if match.lastgroup == "cjk":
            yield from _chinese_terms(run)
        else:
            yield _stem(run)


def _chinese_terms(run: str) -> Iterator[str]:
    """Characters, bigrams and words of a run of Chinese."""
    yield from run
    yield from (run[i : i + 2] for i in range(len(run) - 1))
    # A word of two characters counts twice: as a bigram, and because it is a word.
    yield from (word for word in _chinese_segmenter().cut(run) if len(word) > 1)


@functools.lru_cache(maxsize=200_000)
def _stem(word: str) -> str:
    """The Snowball stem of a case-folded English word."""
    return str(_stemmer.stemWord(word))


@functools.cache
def _chinese_segmenter():  # type: ignore[no-untyped-def]
    """The jieba tokenizer, which cuts Chinese text into words.

    It is loaded on the first Chinese text only: its dictionary takes most of a second.
    """
    import jieba

    jieba.setLogLevel(logging.WARNING)
    return jieba.Tokenizer()
