"""Metrics of short answers, from 0 to 1: the highest score against any of the references.

English is scored as by SQuAD v1.1's official script (Rajpurkar et al. 2016), Chinese in the way
of CMRC 2018's (Cui et al. 2019). Both print percentages.
"""

from __future__ import annotations

import re
import string
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence

from moli.records.errors import InputError

_NUMBER_COMMA = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
# Punctuation that CMRC ignores. Other marks, such as the full stop and %, count as units.
_CHINESE_PUNCTUATION = str.maketrans("", "", "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
_IDEOGRAPH = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
# An ideograph; a word or a number, such as 3.5 or 1,000; any other mark.
_UNIT = re.compile(rf"[{_IDEOGRAPH}]|[^\W_{_IDEOGRAPH}]+(?:(?<=\d)[.,]\d+)*|\S")
# A number in Chinese numerals, an ideograph, or a word or number of another script.
_WORD = re.compile(
    rf"[〇零一二两三四五六七八九十百千万亿]+|[{_IDEOGRAPH}]|[^\W_{_IDEOGRAPH}]+(?:(?<=\d)[.,]\d+)*"
)


def normalize(text: str) -> str:
    """Lower-case text without ASCII punctuation, articles and extra spaces, as in SQuAD v1.1.

    Punctuation is removed before the articles, so that "the-end" becomes "theend".
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, references: Sequence[str]) -> float:
    """1 if the normalized prediction equals one of the normalized references; else 0.

    Raises:
        InputError: there is no reference; all functions below raise it too.
    """

    def score(reference: str) -> float:
        """1 if both are equal after normalization, else 0."""
        return float(normalize(prediction) == normalize(reference))

    return _best(score, references)


def f1(prediction: str, references: Sequence[str]) -> float:
    """F1 of the words that prediction and reference share, counted with repetitions.

    0 if no word is shared, even if both are empty after normalization, as in version 1.1.
    """

    def score(reference: str) -> float:
        """F1 of the prediction against one reference."""
        predicted, expected = normalize(prediction).split(), normalize(reference).split()
        shared = (Counter(predicted) & Counter(expected)).total()
        return _f1(shared, len(predicted), len(expected))

    return _best(score, references)


def chinese_exact_match(prediction: str, references: Sequence[str]) -> float:
    """1 if the prediction equals a reference apart from case and CMRC's punctuation; else 0."""

    def score(reference: str) -> float:
        """1 if both are equal without punctuation, else 0."""
        return float(_without_punctuation(prediction) == _without_punctuation(reference))

    return _best(score, references)


def chinese_f1(prediction: str, references: Sequence[str]) -> float:
    """F1 by the longest run of units that prediction and reference share, as CMRC counts it.

    A unit is an ideograph, or a word of another script. CMRC splits these words with NLTK; here
    they end at spaces and marks, which differs only in contractions and abbreviations.
    """

    def score(reference: str) -> float:
        """F1 of the prediction against one reference."""
        predicted, expected = chinese_units(prediction), chinese_units(reference)
        return _f1(_longest_run(predicted, expected), len(predicted), len(expected))

    return _best(score, references)


def chinese_units(text: str) -> list[str]:
    """The units that `chinese_f1` counts: single ideographs and words of other scripts."""
    return _UNIT.findall(_without_punctuation(text))


def contains_answer(text: str, references: Sequence[str]) -> float:
    """1 if the text has the words of a reference in a row, else 0.

    Case, punctuation, English articles and commas in numbers do not count. So "5 euros" is not
    contained in "15 euros", nor 八个月 in 十八个月. Of a reference that is longer than the text,
    half is enough.
    """
    words = _words(text)

    def score(reference: str) -> float:
        """1 if the text contains the reference, or is half of it or more."""
        expected = _words(reference)
        is_half = 2 * len(words) >= len(expected) and _has_run(expected, words)
        return float(_has_run(words, expected) or is_half)

    return _best(score, references)


def _words(text: str) -> list[str]:
    """Ideographs, and words and numbers of other scripts, without articles and punctuation."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    units = _WORD.findall(_NUMBER_COMMA.sub("", folded))
    return [unit for unit in units if not _ARTICLES.fullmatch(unit)]


def _has_run(words: Sequence[str], run: Sequence[str]) -> bool:
    """Whether words contain a run of others, which is not empty."""
    starts = range(len(words) - len(run) + 1) if run else ()
    return any(words[start : start + len(run)] == run for start in starts)


def _without_punctuation(text: str) -> str:
    """The text in lower case without the punctuation that CMRC ignores."""
    return text.lower().strip().translate(_CHINESE_PUNCTUATION)


def _best(score: Callable[[str], float], references: Sequence[str]) -> float:
    """The highest score against any of the references.

    Args:
        score: a function from a reference to the prediction's score against it.
    """
    if not references:
        raise InputError("an answer has no reference", fix="Give one or more.")
    return max(map(score, references))


def _f1(shared: int, predicted: int, expected: int) -> float:
    """F1 from counts: the harmonic mean of shared / predicted and shared / expected."""
    return 2 * shared / (predicted + expected) if shared else 0.0


def _longest_run(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest run of units that both sequences contain."""
    longest = 0
    above = [0] * (len(second) + 1)  # [j + 1]: length of the shared run that ends at second[j]
    for unit in first:
        row = [0] * (len(second) + 1)
        for j, other in enumerate(second):
            if unit == other:
                row[j + 1] = above[j] + 1
        longest, above = max(longest, *row), row
    return longest
