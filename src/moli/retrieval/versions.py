"""Versions that disagree: sentences of several documents that say different things on one matter.

Two sentences disagree in one of two cases. They are the same but for one figure, in whatever
documents they stand. Or both would be answers, neither says all that the other says, and they stand
in versions of one document, whose names are the same but for dates and numbers, or one of them says
that something was changed: "The price is raised to 520 euros." The same
sentence in two files is no disagreement. A sentence is on something else if it lacks a word of the
question that the best sentence has, or in a version of its document, a number or a code.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import PurePath

from moli.records.answers import Hit
from moli.retrieval.chinese import CJK
from moli.retrieval.evidence import ScoredSentence
from moli.retrieval.tokens import fold, key_terms, tokenize

_MIN_SIMILARITY = 0.5  # of sentences without figures, in versions of one document
_ONES = (
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven",
    "twelve", "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
)  # fmt: skip
_TENS = ("twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety")
_VALUES = {word: value for value, word in enumerate(_ONES)} | {
    word: 10 * value for value, word in enumerate(_TENS, 2)
}
_DATES = (
    "january", "february", "march", "april", "may", "june", "july", "august", "september",
    "october", "november", "december", "monday", "tuesday", "wednesday", "thursday", "friday",
    "saturday", "sunday",
)  # fmt: skip
_DIGITS = {"〇": 0, "零": 0, "一": 1, "二": 2, "两": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7,
           "八": 8, "九": 9}  # fmt: skip
_UNITS = {"十": 10, "百": 100, "千": 1000, "万": 10_000, "亿": 10**8}
_TOKEN = re.compile(
    rf"""
      (?P<digits>(?<![^\W{CJK}])\d+(?:[.,:/-]\d+)*)     # not the 6 of B6
    | (?P<numerals>[{"".join((*_DIGITS, *_UNITS))}]+)
    | (?P<words>\b(?:(?:{"|".join(_TENS)})-(?:{"|".join(_ONES[1:10])})|{"|".join(_VALUES)})\b)
    | (?P<date>\b(?:{"|".join(_DATES)})\b)
    | (?P<word>[^\W_{CJK}]+) | (?P<ideograph>[{CJK}])
    """,
    re.VERBOSE,
)
_YEAR = re.compile(r"(?:19|20)\d\d\b.*")
# Parts of names that tell the versions of a document apart.
_VERSION = re.compile(
    r"[\W\d_]+|\b(?:v|ver|version|rev|revision|final|draft|old|new|copy|edition)(?=[\W\d_]|$)|第.版"
    r"|[年月日版]|修订|副本|草案|最新"
)
# A sentence with one of these says that another no longer holds.
_CHANGE = re.compile(
    r"\b(?:changed|raised|increased|reduced|lowered|extended|shortened|cut|moved) (?:\w+ )?to\b"
    r"|\b(?:rises|falls|goes (?:up|down)) to\b|\breplaced by\b|\binstead of\b|\bno longer\b"
    r"|(?:改|调整|变更|上调|下调|提高|降低|延长|缩短)(?:为|至|到|成)|不再"
)


def other_versions(
    question: str,
    best: ScoredSentence,
    evidence: Sequence[ScoredSentence],
    *,
    unsure: float,
    confidence: float,
) -> list[ScoredSentence]:
    """The sentences that disagree with the best one, at most one of each other document.

    Args:
        evidence: sentences that may disagree, the likeliest answer first.
        unsure, confidence: the probabilities from which on a sentence is shown at all, and is an
            answer.
    """
    target = _Statement.of(best.text)
    rivals = [
        (sentence, _Statement.of(sentence.text))
        for sentence in evidence
        if sentence.probability >= min(unsure, confidence) and not sentence.missing
    ]
    agreeing = {rival.hit.document_id for rival, statement in rivals if statement == target}
    decided = {best.hit.document_id, *agreeing}
    needed = set(key_terms(question)) & _context(best)
    codes = {term for term in needed if any(map(str.isdigit, term))}
    others = []
    for rival, statement in rivals:
        if rival.hit.document_id in decided:
            continue
        is_answer = rival.probability >= confidence
        is_version = is_answer and _are_versions(best.hit, rival.hit)
        is_change = is_answer and any(_CHANGE.search(fold(each.text)) for each in (best, rival))
        differs = target.differs_in_a_figure(statement) or (
            (is_version or is_change) and target.differs(statement)
        )
        if not (is_version or differs) or not (codes if is_version else needed) <= _context(rival):
            continue
        decided.add(rival.hit.document_id)  # the likeliest sentence of a version decides
        if differs:
            others.append(rival)
    return others


@dataclass(frozen=True, slots=True)
class _Statement:
    """A sentence as its words, with "#" in place of each figure, and its figures in their order."""

    words: tuple[str, ...]
    figures: tuple[str, ...]

    @classmethod
    def of(cls, text: str) -> _Statement:
        """The statement of a sentence."""
        tokens = list(_tokens(text))
        words = tuple("#" if is_figure else token for token, is_figure in tokens)
        return cls(words, tuple(token for token, is_figure in tokens if is_figure))

    def differs_in_a_figure(self, other: _Statement) -> bool:
        """Whether one figure is another and all else is the same; years count if nothing else."""
        if self.words != other.words:
            return False
        pairs = zip(self.figures, other.figures, strict=True)
        different = [pair for pair in pairs if pair[0] != pair[1]]
        no_years = [pair for pair in different if not all(map(_YEAR.fullmatch, pair))]
        return len(no_years or different) == 1

    def differs(self, other: _Statement) -> bool:
        """Whether neither says all that the other says: its figures, or without any, its words."""
        if self.figures and other.figures:
            return _differ(self.figures, other.figures)
        similarity = SequenceMatcher(None, self.words, other.words, autojunk=False).ratio()
        return similarity >= _MIN_SIMILARITY and _differ(self.words, other.words)


def _differ(first: Sequence[str], second: Sequence[str]) -> bool:
    """Whether neither has everything that the other has."""
    return not (set(first) <= set(second) or set(second) <= set(first))


def _tokens(text: str) -> Iterator[tuple[str, bool]]:
    """Words of a sentence, stemmed, and its figures in digits; and whether each is a figure."""
    for match in _TOKEN.finditer(fold(text)):
        token = match.group()
        if match.lastgroup == "digits":
            yield token.replace(",", ""), True
        elif match.lastgroup == "numerals":
            yield _value_of_numerals(token), True
        elif match.lastgroup == "words":
            yield str(sum(_VALUES[word] for word in token.split("-"))), True
        elif match.lastgroup == "word":
            yield tokenize(token)[0], False
        else:
            yield token, match.lastgroup == "date"


def _value_of_numerals(numerals: str) -> str:
    """Chinese numerals in digits.

    >>> _value_of_numerals("一百二十"), _value_of_numerals("二〇二四")
    ('120', '2024')
    """
    if not set(numerals) & set(_UNITS):
        return "".join(str(_DIGITS[numeral]) for numeral in numerals)
    total = section = digit = 0
    for numeral in numerals:
        if numeral in _DIGITS:
            digit = _DIGITS[numeral]
        elif _UNITS[numeral] < 10_000:
            section += (digit or 1) * _UNITS[numeral]
            digit = 0
        else:
            total += (section + digit or 1) * _UNITS[numeral]
            section = digit = 0
    return str(total + section + digit)


def _context(sentence: ScoredSentence) -> set[str]:
    """Terms of a sentence, and of the title, the heading and the name above it."""
    hit = sentence.hit
    name = " ".join(PurePath(hit.source).parts[-2:])
    return set(tokenize(" ".join((sentence.text, hit.title, hit.heading, name))))


def _are_versions(first: Hit, second: Hit) -> bool:
    """Whether two documents have one name or title, but for what tells versions apart."""
    pairs = ((first.title, second.title), (_stem(first), _stem(second)))
    keys = [(_without_version(one), _without_version(other)) for one, other in pairs]
    return any(one and one == other for one, other in keys)


def _stem(hit: Hit) -> str:
    """The name of a document's file without its suffix."""
    return PurePath(hit.source).stem


def _without_version(name: str) -> str:
    """A name without dates, numbers and the like.

    >>> _without_version("Staff_Handbook-2024 v2 (final)")
    'staffhandbook'
    """
    return _VERSION.sub("", fold(name).replace("_", " "))
