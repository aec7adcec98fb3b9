"""Weekdays and months that a text names, with all that lie in its ranges: Monday to Friday."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from moli.retrieval.sentences import TextSpan
from moli.retrieval.tokens import fold

_WEEKDAYS = "monday tuesday wednesday thursday friday saturday sunday".split()  # noqa: SIM905
_MONTHS = (
    "january february march april may june july august september october november december".split()  # noqa: SIM905
)
_NUMERALS = ("十二", "十一", "十", "一", "二", "三", "四", "五", "六", "七", "八", "九")
_WEEKDAY = re.compile(
    r"\b(mon|tues|wednes|thurs|fri|satur|sun)days?\b|(?:星期|礼拜|周)([一二三四五六日天])"
)
_MONTH = re.compile(
    r"\b(january|february|march|april|june|july|august|september|october|november|december"
    r"|(?:(?<=in )|(?<=until )|(?<=to )|(?<=from )|(?<=of ))may)\b"  # "may" alone is a verb
    rf"|(?<![个\d])(\d{{1,2}}|{'|'.join(_NUMERALS)})月"
)
_RANGE = re.compile(r"\s*(?:to|till|until|through|-|–|—|~|到|至)\s*")
_ALL = re.compile(
    r"\b(?:daily|every day|except|all year|weekdays?|weekends?)\b|每天|天天|除|工作日|周末|全年"
)


@dataclass(frozen=True, slots=True)
class Day:
    """A weekday or a month in a question, as it is written, and its name in English."""

    text: str
    span: TextSpan
    name: str


@lru_cache(maxsize=8192)
def days_in(text: str) -> frozenset[str]:
    """The weekdays and months of a text, in English: {"monday", "may"}."""
    folded = fold(text)
    return _named(folded, _WEEKDAY, _WEEKDAYS) | _named(folded, _MONTH, _MONTHS)


def days_of_question(question: str) -> list[Day]:
    """The weekdays and months that a question names."""
    return [
        Day(question[slice(*match.span())], match.span(), names[number])
        for pattern, names in ((_WEEKDAY, _WEEKDAYS), (_MONTH, _MONTHS))
        for match in pattern.finditer(fold(question))
        if 0 <= (number := _number(match[1] or "", match[2] or "", names)) < len(names)
    ]


def excludes_day(text: str, day: str) -> bool:
    """Whether a text names other weekdays or months and not this one, of the same kind."""
    if _ALL.search(fold(text)):
        return False
    names = _WEEKDAYS if day in _WEEKDAYS else _MONTHS
    named = days_in(text).intersection(names)
    return bool(named) and day not in named


def _named(folded: str, pattern: re.Pattern[str], names: list[str]) -> frozenset[str]:
    """The names that a pattern matches, with those between the two ends of a range."""
    named: set[str] = set()
    last_number, last_end = 0, -1
    for match in pattern.finditer(folded):
        number = _number(match[1] or "", match[2] or "", names)
        if not 0 <= number < len(names):
            continue
        if last_end >= 0 and _RANGE.fullmatch(folded, last_end, match.start()):
            between = (number - last_number) % len(names)
            named |= {names[(last_number + step) % len(names)] for step in range(between)}
        named.add(names[number])
        last_number, last_end = number, match.end()
    return frozenset(named)


def _number(english: str, chinese: str, names: list[str]) -> int:
    """The place of a name among the names, from 0."""
    if english:
        return next(n for n, name in enumerate(names) if name.startswith(english))
    if chinese.isdigit():
        return int(chinese) - 1
    if names is _WEEKDAYS:
        return "一二三四五六日天".index(chinese) if chinese != "天" else 6
    return {"十": 9, "十一": 10, "十二": 11}.get(chinese, "一二三四五六七八九".find(chinese))
