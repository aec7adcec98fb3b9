"""Numbers and dates in texts, in digits and in words, in English and Chinese."""

from __future__ import annotations

import re
from dataclasses import dataclass

from moli.retrieval.sentences import TextSpan

_DIGITS = re.compile(r"(?<![\w.])\d{1,3}(?:,\d{3})+(?:\.\d+)?(?!\d)|\d+(?:\.\d+)?")
_MYRIADS = re.compile(r"(\d+(?:\.\d+)?) ?([万萬亿億])")
_VALUES = {
    "零": 0, "一": 1, "二": 2, "三": 3, "四": 4, "五": 5, "六": 6, "七": 7, "八": 8, "九": 9,
    "〇": 0, "壹": 1, "贰": 2, "叁": 3, "肆": 4, "伍": 5, "陆": 6, "柒": 7, "捌": 8, "玖": 9,
    "两": 2, "兩": 2, "貳": 2, "參": 3, "陸": 6,
}  # fmt: skip
_MULTIPLES = {
    "十": 10, "拾": 10, "百": 100, "千": 1000, "万": 10_000, "萬": 10_000, "亿": 10**8, "億": 10**8,
}  # fmt: skip
_CHINESE = re.compile(f"[{''.join((*_VALUES, *_MULTIPLES))}]+")
# In these a numeral counts nothing: very, in case, week, Sichuan, ...; 一 alone is mostly "a".
_IDIOM = re.compile(
    "(?<![第零〇一二三四五六七八九十百千万亿])[一壹](?![零〇一二三四五六七八九十百千万亿])"
    "|哪[二两兩三四五六七八九十]|万一|萬一"
    r"|(?<![一二三四五六七八九])十分(?![钟鐘之])|百分之|星期|[周週]末|礼拜|禮拜|三明治|四川|五金|八卦"
)
_UP_TO_TWENTY = """
    zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen
    sixteen seventeen eighteen nineteen twenty
"""
_WORDS = {word: str(value) for value, word in enumerate(_UP_TO_TWENTY.split())} | {
    "thirty": "30",
    "forty": "40",
    "fifty": "50",
    "sixty": "60",
    "ninety": "90",
    "hundred": "100",
}
_ENGLISH = re.compile(rf"\b(?:{'|'.join(_WORDS)})\b", re.IGNORECASE)
_ROMAN_NUMERALS = "I II III IV V VI VII VIII IX X XI XII XIII XIV XV XVI XVII XVIII XIX XX"
_ROMAN = {numeral: str(value) for value, numeral in enumerate(_ROMAN_NUMERALS.split(), 1)}
# After these words a letter is a numeral: a type I error.
_NUMBERED = (
    "type|class|phase|stage|grade|level|part|volume|chapter|section|article|appendix|figure|table"
    "|act|title|schedule|war"
)
_ROMAN_NUMBER = re.compile(rf"\b((?i:{_NUMBERED})\s+)([IVX]+)\b")
_MONTH_NAMES = "jan feb mar apr may jun jul aug sep oct nov dec"
_MONTHS = {name: str(number) for number, name in enumerate(_MONTH_NAMES.split(), 1)}
_MONTH = (
    r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\b\.?"
)
_DAY = r"(?P<d>\d{1,2})(?:st|nd|rd|th)?"
_YEAR_AFTER = r"(?:,? (?P<y>\d{4}))?(?!\d)"
_CHINESE_YEAR = r"(?:(?P<y>\d{2,4}|[零〇一二三四五六七八九]{2,4})年)?"
_CHINESE_PART = r"(?:\d{1,2}|[一二三四五六七八九十]{1,3})"
_DATE_FORMS = tuple(
    re.compile(form, re.IGNORECASE)
    for form in (
        r"(?<!\d)(?P<y>\d{4})[-/.](?P<m>\d{1,2})[-/.](?P<d>\d{1,2})(?!\d)",  # 2025-03-04
        r"(?<!\d)(?P<d>\d{1,2})[./](?P<m>\d{1,2})[./](?P<y>\d{4})(?!\d)",  # 4.3.2025
        rf"\b{_MONTH} {_DAY}{_YEAR_AFTER}",  # March 4, 2025
        rf"(?<!\d){_DAY}(?: of)? {_MONTH}{_YEAR_AFTER}",  # 4th of March 2025
        rf"{_CHINESE_YEAR}(?P<m>{_CHINESE_PART})月(?P<d>{_CHINESE_PART})[日号號]",  # 2025年3月4日
    )
)


@dataclass(frozen=True, slots=True)
class Number:
    """A number as it is written, and its value as plain digits without zeros at its ends."""

    text: str
    value: str


@dataclass(frozen=True, slots=True)
class Date:
    """A date as it is written, and its year, month and day in digits; "" for a missing year."""

    text: str
    span: TextSpan
    parts: tuple[str, str, str]


def numbers_in(text: str, *, question: bool = False) -> list[Number]:
    """The numbers of a text.

    Args:
        question: leave out what is seldom meant as a number in a question: English words, idioms
            of Chinese, and 百 and the like alone.
    """
    text = _MYRIADS.sub(_written_out, in_digits(text))
    numbers = [Number(each.group(), _plain(each.group())) for each in _DIGITS.finditer(text)]
    # A line end in place of an idiom keeps the numerals beside it apart.
    for match in _CHINESE.finditer(_IDIOM.sub("\n", text) if question else text):
        numeral = match.group()
        if not (question and numeral in _MULTIPLES):
            numbers.append(Number(numeral, str(chinese_value(numeral))))
    if not question:
        words = [match.group() for match in _ENGLISH.finditer(text)]
        numbers += [Number(word, _WORDS[word.casefold()]) for word in words]
    return numbers


def in_digits(text: str) -> str:
    """A text with digits for its Roman numerals: type 2 for type II."""
    return _ROMAN_NUMBER.sub(lambda match: match[1] + _ROMAN.get(match[2], match[2]), text)


def dates_in(text: str) -> list[Date]:
    """The dates of a text that have a month and a day."""
    dates: list[Date] = []
    for form in _DATE_FORMS:
        for match in form.finditer(text):
            start, end = match.span()
            if not any(date.span[0] < end and start < date.span[1] for date in dates):
                dates.append(Date(match.group(), match.span(), _parts(match)))
    return dates


def chinese_value(numeral: str) -> int:
    """The value of a Chinese numeral; 百 alone is 100.

    >>> chinese_value("二〇二五"), chinese_value("三百一十五"), chinese_value("两万")
    (2025, 315, 20000)
    """
    if all(character in _VALUES for character in numeral):  # digit by digit, as in years
        return int("".join(str(_VALUES[character]) for character in numeral))
    total = section = digit = 0
    for character in numeral:
        if character in _VALUES:
            digit = _VALUES[character]
        elif (multiple := _MULTIPLES[character]) < 10_000:
            section += (digit or 1) * multiple
            digit = 0
        else:  # of 一亿二千万, 亿 multiplies all that stands before it, and 万 the two thousand
            whole = total if multiple > 10_000 else 0
            total += ((whole + section + digit) or 1) * multiple - whole
            section = digit = 0
    return total + section + digit


def _parts(match: re.Match[str]) -> tuple[str, str, str]:
    """Year, month and day of a match of one of the forms of dates."""
    groups = match.groupdict()
    name = groups.get("month")
    month = _MONTHS[name[:3].casefold()] if name else _digits(groups["m"])
    return _digits(groups.get("y")), month, _digits(groups["d"])


def _written_out(match: re.Match[str]) -> str:
    """The digits of a number of myriads: 15000 for 1.5万."""
    return _plain(f"{float(match[1]) * _MULTIPLES[match[2]]:.4f}")


def _plain(digits: str) -> str:
    """A number in digits without separators, and without zeros at its ends."""
    whole, _, fraction = digits.replace(",", "").replace(" ", "").partition(".")
    fraction = fraction.rstrip("0")
    return (whole.lstrip("0") or "0") + (f".{fraction}" if fraction else "")


def _digits(part: str | None) -> str:
    """A part of a date in digits without zeros before it."""
    if not part:
        return ""
    return part.lstrip("0") if part.isdigit() else str(chinese_value(part))
