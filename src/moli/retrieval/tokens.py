"""Tokenization of texts into index terms, the same for documents and queries.

Texts are folded first: case, width of letters, and the scripts of Chinese. Latin-script words are
stemmed (Snowball English). A run of Chinese gives its characters, its bigrams and its jieba words,
these in the mainland's vocabulary: characters and bigrams make sure that every match is found,
words improve the ranking.
"""

import functools
import re
import unicodedata
from collections.abc import Iterator
from typing import Literal, get_args

import Stemmer

from moli.retrieval.chinese import (
    CJK,
    IDEOGRAPH,
    all_words_of,
    mainland_word,
    parts_of,
    to_simplified,
    words_of,
)
from moli.retrieval.function_words import FUNCTION_WORDS, without_question_words

# Changes whenever a text gives other terms than before, so that indexes are built again.
TERMS_VERSION = 2

Language = Literal["en", "zh"]
LANGUAGES: tuple[Language, ...] = get_args(Language)

_RUN = re.compile(rf"(?P<cjk>[{CJK}]+)|[^\W_{CJK}]+", re.UNICODE)
_LETTER = re.compile(r"[^\W\d_]")
_CONTRACTION = re.compile(r"\b([^\W_]+)(n['’]t|['’](?:s|re|ve|ll|d|m))\b")
_IRREGULAR = {"ca": "can", "wo": "will", "sha": "shall"}
_stemmer = Stemmer.Stemmer("english")
_stemmer.maxCacheSize = 0  # `stem` caches, and does not hold a second copy


def language_of(text: str) -> Language:
    """The language of a text: Chinese if ideographs make up over 15% of its letters.

    An ideograph carries about as much as half an English word, so a mixed text counts as Chinese
    well before ideographs are in the majority.
    """
    letters = len(_LETTER.findall(text))
    return "zh" if letters and len(IDEOGRAPH.findall(text)) / letters > 0.15 else "en"


def other_language(language: Language) -> Language:
    """The one of the two languages that this is not."""
    return "en" if language == "zh" else "zh"


@functools.lru_cache(maxsize=8192)
def fold(text: str) -> str:
    """The text in one form of letters: no full width, no upper case, no traditional Chinese."""
    return to_simplified(unicodedata.normalize("NFKC", text)).casefold()


def tokenize(text: str) -> list[str]:
    """Index terms of a text, in order and with repetitions."""
    return list(_terms(fold(text)))


def query_terms(text: str) -> list[str]:
    """Terms to look up in the lexical index for a query.

    The terms of `tokenize` without function words, unless the query has only function words.
    """
    folded = fold(text)
    terms = _terms(without_question_words(folded))
    content = [term for term in terms if term not in FUNCTION_WORDS]
    return content or list(_terms(folded))


def key_terms(question: str) -> list[str]:
    """Words of a question that a sentence with the answer is likely to share.

    They are stems of English and jieba's words of Chinese, none of which overlap, without function
    words unless the question has only function words.
    """
    folded = fold(question)
    terms = _key_terms(without_question_words(folded))
    content = [term for term in terms if term not in FUNCTION_WORDS]
    return content or list(_key_terms(folded))


def _key_terms(text: str) -> Iterator[str]:
    """Key terms of a folded text, including function words."""
    for run, is_chinese in _runs(text):
        if is_chinese:
            yield from map(mainland_word, _chinese_key_terms(run))
        else:
            yield stem(run)


def _chinese_key_terms(run: str) -> Iterator[str]:
    """Key terms of a run of Chinese, including function words."""
    for word in words_of(run):
        yield from [word] if word in FUNCTION_WORDS else parts_of(word)


def _terms(text: str) -> Iterator[str]:
    """Index terms of a folded text."""
    for run, is_chinese in _runs(text):
        if is_chinese:
            yield from _chinese_terms(run)
        else:
            yield stem(run)


def _runs(text: str) -> Iterator[tuple[str, bool]]:
    """Each Latin-script word and run of Chinese of a folded text, and whether it is Chinese."""
    for match in _RUN.finditer(_CONTRACTION.sub(_expand, text)):
        yield match.group(), match.lastgroup == "cjk"


def _expand(contraction: re.Match[str]) -> str:
    """The words of a contraction: "do not" for "don't", and "what" for "what's"."""
    word, ending = contraction.groups()
    return f"{_IRREGULAR.get(word, word)} not" if ending.startswith("n") else word


def _chinese_terms(run: str) -> Iterator[str]:
    """Characters, bigrams and words of a run of Chinese."""
    yield from run
    yield from (run[i : i + 2] for i in range(len(run) - 1))
    # A word of two characters counts twice: as a bigram, and because it is a word.
    yield from (mainland_word(word) for word in all_words_of(run) if len(word) > 1)


@functools.lru_cache(maxsize=200_000)
def stem(word: str) -> str:
    """The Snowball stem of a case-folded English word."""
    return str(_stemmer.stemWord(word))
