"""Scores of short answers against references, from 0 to 1; the best reference counts.

English is scored as by SQuAD v1.1's official script (Rajpurkar et al. 2016), Chinese in the way
of CMRC 2018's (Cui et al. 2019). Both print percentages.
"""

from __future__ import annotations

import re
import string
from collections import Counter
from collections.abc import Callable, Sequence

from moli.records.errors import InputError

_ARTICLES = re.compile(r"\b(a|an|the)\b")
_PUNCTUATION = str.maketrans("", "", string.punctuation)
# The marks that CMRC leaves out. Others, such as the full stop and %, stay and count as units.
_CHINESE_MARKS = str.maketrans("", "", "-:_*^/\\~`+=，。：？！“”；’《》·、「」（）－～『』")
_IDEOGRAPH = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
# An ideograph; a word or a number, such as 3.5 or 1,000; any other mark.
_UNIT = re.compile(rf"[{_IDEOGRAPH}]|[^\W_{_IDEOGRAPH}]+(?:(?<=\d)[.,]\d+)*|\S")


def normalize(text: str) -> str:
    """Lower case, without ASCII punctuation or articles, with single spaces, as in SQuAD v1.1.

    Punctuation is removed before the articles, so that "the-end" becomes "theend".
    """
    return " ".join(_ARTICLES.sub(" ", text.lower().translate(_PUNCTUATION)).split())


def exact_match(prediction: str, references: Sequence[str]) -> float:
    """1 if the prediction is, once normalised, one of the references; else 0.

    Raises:
        InputError: there is no reference; all scores below raise it too.
    """

    def score(reference: str) -> float:
        return float(normalize(prediction) == normalize(reference))

    return _best(score, references)


def f1(prediction: str, references: Sequence[str]) -> float:
    """F1 of the words that prediction and reference share, counted with repeats.

    0 where no word is shared, also if both are empty once normalised, as in version 1.1.
    """

    def score(reference: str) -> float:
        given, wanted = normalize(prediction).split(), normalize(reference).split()
        return _f1((Counter(given) & Counter(wanted)).total(), len(given), len(wanted))

    return _best(score, references)


def chinese_exact_match(prediction: str, references: Sequence[str]) -> float:
    """1 if the prediction is one of the references, case and CMRC's punctuation aside; else 0."""

    def score(reference: str) -> float:
        return float(_without_marks(prediction) == _without_marks(reference))

    return _best(score, references)


def chinese_f1(prediction: str, references: Sequence[str]) -> float:
    """F1 by the longest run of units that prediction and reference share, as CMRC counts it.

    A unit is an ideograph, or a word of another script. CMRC splits these words with NLTK; here
    they end at spaces and marks, which differs only in contractions and abbreviations.
    """

    def score(reference: str) -> float:
        given, wanted = chinese_units(prediction), chinese_units(reference)
        return _f1(_longest_run(given, wanted), len(given), len(wanted))

    return _best(score, references)


def chinese_units(text: str) -> list[str]:
    """What `chinese_f1` counts: ideographs one by one, other words whole, punctuation left out."""
    return _UNIT.findall(_without_marks(text))


def _without_marks(text: str) -> str:
    return text.lower().strip().translate(_CHINESE_MARKS)


def _best(score: Callable[[str], float], references: Sequence[str]) -> float:
    if not references:
        raise InputError("an answer has no reference", fix="Give one or more.")
    return max(map(score, references))


def _f1(shared: int, given: int, wanted: int) -> float:
    """Harmonic mean of shared / given and shared / wanted."""
    return 2 * shared / (given + wanted) if shared else 0.0


def _longest_run(first: Sequence[str], second: Sequence[str]) -> int:
    """Length of the longest contiguous run of units that both have."""
    longest = 0
    above = [0] * (len(second) + 1)  # [j + 1]: length of the shared run that ends at second[j]
    for unit in first:
        row = [0] * (len(second) + 1)
        for j, other in enumerate(second):
            if unit == other:
                row[j + 1] = above[j] + 1
        longest, above = max(longest, *row), row
    return longest
