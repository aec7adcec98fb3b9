"""Kinds of answers: whether a text has the time, price, number or person that a question asks for.

All patterns are of folded text, but for those of names, which are told by their capitals.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from moli.retrieval.chinese import has_person
from moli.retrieval.tokens import fold

_NUMERAL = (
    r"(?:\d|[零〇一二两三四五六七八九十百千万亿半]"
    r"|\b(?:one|two|three|four|five|six|seven|eight|nine|ten"
    r"|eleven|twelve|fifteen|twenty|thirty|forty|fifty|half|a dozen|hundred)\b)"
)
_WEEKDAY = (
    r"(?:mon|tues|wednes|thurs|fri|satur|sun)days?\b"
    r"|(?:星期|礼拜|周)[一二三四五六日天末]|weekends?|工作日"
)
_MONTH = (
    r"\b(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?"
    r"|sept?(?:ember)?|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\b"
)
_DURATION_UNITS = r"(?:second|minute|hour|day|night|week|month|year|decade|centur)"


@dataclass(frozen=True, slots=True)
class AnswerKind:
    """A kind of answer, with patterns of the questions that ask for it and of what answers them."""

    name: str
    questions: re.Pattern[str]
    answers: re.Pattern[str]


def _kind(name: str, questions: str, answers: str) -> AnswerKind:
    return AnswerKind(name, re.compile(questions), re.compile(answers))


_TIME_OF_DAY = _kind(
    "time of day",
    r"\bwhat (?:time|hour)|几点|什么钟点",
    rf"\d{{1,2}}[:.：]\d{{2}}|{_NUMERAL} ?(?:am\b|pm\b|a\.m|p\.m|o['’]clock)"
    rf"|{_NUMERAL} ?[点时](?!间)|\bnoon\b"
    r"|\bmidnight\b|正午|午夜",
)
_DAY_OF_WEEK = _kind(
    "weekday",
    r"\b(?:what|which) (?:week)?day|星期几|礼拜几|周几",
    rf"{_WEEKDAY}|每天|天天|every day|daily",
)
_PRICE = _kind(
    "price",
    r"\bhow much (?:money|do(?:es)?|is|are|was|were|will|did|would|to|for|more|extra)\b"
    r"|\bwhat(?:['’]s| is| does| do| are| was).{0,40}"
    r"\b(?:price|cost|fee|rent|fare|charge|salary|deposit|fine|bill)"
    r"|多少钱|几块|几元|多少元|什么价|租金|费用|怎么收费"
    r"|收多少|报多少|赔多少|扣多少|交多少|付多少|补多少",
    rf"[$€£¥]|{_NUMERAL} ?(?:元|块|角|万|usd|eur|gbp|rmb|%|成|折)"
    r"|\b(?:euros?|dollars?|pounds?|pence|cents?|francs?|yuan|percent)\b"
    r"|百分之|免费|不收|\bfree\b|no charge|港币|台币|美元",
)
_DURATION = _kind(
    "duration",
    rf"\bhow long\b|\bhow many {_DURATION_UNITS}|\bhow soon\b|\bhow often\b"
    r"|多久|多长时间|几天|几个?月|几年"
    r"|几(?:个)?(?:小时|钟头|分钟|星期|礼拜|周|日)|多少(?:天|年|个月|小时|分钟|周)",
    rf"{_NUMERAL}[ -]?(?:个)?"
    rf"(?:{_DURATION_UNITS}|天|日|小时|钟头|分钟|秒|星期|礼拜|周|月|年|季)"
    rf"|{_DURATION_UNITS}s? and|每[天日周月年季]"
    r"|\b(?:daily|weekly|monthly|yearly|annually|twice|once)\b|永久|终身|当天|次日|隔天",
)
_DATE = _kind(
    "date",
    r"\bwhen\b|\bwhat (?:date|year|month)|\bwhich (?:date|year|month)|\bdeadline\b|\bby what\b"
    r"|什么时候|什么时间|何时|哪[天一]|哪年|哪个?月|几号|几月|日期|何年|截止",
    rf"\d{{4}}|\d(?:st|nd|rd|th)\b|\d[./:-]\d|{_WEEKDAY}|{_MONTH}"
    rf"|{_NUMERAL} ?(?:[年月日号点时周天]|days|weeks|months)"
    r"|\b(?:spring|summer|autumn|winter|morning|evening|noon|end of|start of)\b"
    r"|[上下]午|早上|晚上|年底|月底|月初|春|夏|秋|冬|之前|以前|之后",
)
_TELEPHONE = _kind(
    "telephone number",
    r"\b(?:phone|telephone|mobile|fax|extension|ext)\b"
    r"|\bnumber (?:do|to) .{0,20}(?:call|ring|dial)"
    r"|\bwho do i (?:call|ring|phone)|电话|手机|分机|传真|打几号|打哪",
    r"\d[\d -]{2,}",
)
# Words that ask for nothing but a telephone number.
_TELEPHONE_REQUEST = re.compile(
    r"^what(?:['’]s| is| are)\b.*?((?:phone|telephone|mobile|fax) numbers?|"
    r"(?<=['’]s )(?:phone|telephone|mobile|fax|extension)\b)"
    r"|((?:电话|手机|分机|传真)(?:号码?)?)是?(?:多少|几号)"
)
_SPOKEN_DIGITS = re.compile("[零〇一二三四五六七八九]{3,}")
_NUMBER = _kind(
    "number",
    r"\bhow (?:many|much|old|far|large|tall|big|high|heavy|deep|wide|fast|hot|cold|warm)\b"
    r"|\bwhat (?:percent|age|size"
    r"|temperature|number|share|proportion)|多少|几|多[大远高重宽深快厚](?![家数量])|百分之几|第几",
    _NUMERAL,
)
# The first kind that a question asks for counts.
_KINDS = (_TIME_OF_DAY, _DAY_OF_WEEK, _PRICE, _DURATION, _DATE, _TELEPHONE, _NUMBER)

_ASKS_PERSON = re.compile(
    r"\bwho(?:m|se)?\b|谁|哪位|哪个人|什么人|叫什么(?:名字)?|负责人是",
)
_ROLE = re.compile(
    r"\b(?:mr|mrs|ms|dr|prof|sir|he|she|team|office|manager|director|president|king|queen|men"
    r"|women|people|staff"
    r"|company|committee|department|tenants?|customers?|members?|employees?)\b"
)
# A word with a capital inside of a sentence, an address, or a sentence that begins with a name.
_NAME = re.compile(
    r"(?<![.!?] )(?<!^)\b[A-ZÀ-Þ]\w+|@"
    r"|^[A-ZÀ-Þ]\w+ [A-ZÀ-Þ]|^[A-ZÀ-Þ]\w+ (?:is|was|has|will)"
)
# A code such as CK6140 or EQ-2207 is neither a number nor a name; RMB500 is a price.
_CODE = re.compile(r"(?<![A-Za-z\d])(?!(?:EUR|USD|GBP|RMB|CNY|HKD|NT|TWD)\d)[A-Z]+-?\d[\w-]*")
_ASKS_CODE = re.compile(r"\b(?:number|no|code|id|model)\b|[号码]")


def has_asked_kind(question: str, text: str) -> bool | None:
    """Whether a text has what a question asks for; None if that is nothing of a known kind."""
    question = fold(question)
    text = text if _ASKS_CODE.search(question) else _CODE.sub(" ", text)
    folded = fold(text)
    # "Who do I call?" asks for a number.
    if _ASKS_PERSON.search(question) and not _TELEPHONE.questions.search(question):
        return bool(_NAME.search(text) or _ROLE.search(folded) or has_person(folded))
    kind = _requested_kind(question)
    return None if kind is None else bool(kind.answers.search(folded))


@lru_cache(maxsize=256)
def _requested_kind(question: str) -> AnswerKind | None:
    """The kind of answer that a folded question asks for: the first that fits."""
    return next((kind for kind in _KINDS if kind.questions.search(question)), None)


def requested_telephone(question: str) -> str:
    """The words with which a question asks for nothing but a telephone number; else ""."""
    match = _TELEPHONE_REQUEST.search(fold(question))
    return question[slice(*match.span(match.lastindex or 0))] if match else ""


def has_telephone(text: str) -> bool:
    """Whether a text has what may be a telephone number."""
    folded = fold(text)
    return bool(_TELEPHONE.answers.search(folded) or _SPOKEN_DIGITS.search(folded))
