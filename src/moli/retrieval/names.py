"""Names of persons, places, organizations and things in questions, and whether a text has them.

English names are words with a capital; for Chinese ones, jieba tags the words. A text may write a
name otherwise than the question: "Schmidt" for Anna Schmidt, "the UN" for the United Nations, "the
Nigerians" for Nigeria.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

from moli.retrieval.chinese import CJK, IDEOGRAPH, names_of, rare_characters_of
from moli.retrieval.function_words import FUNCTION_WORDS
from moli.retrieval.tokens import fold, stem

_CAPITALIZED = r"[A-ZÀ-ÖØ-Þ][\w'’&-]*"
_PARTICLE = r"(?:of|the|de|la|van|von|der|den|al|bin)"
_NAME = re.compile(rf"(?<!\w){_CAPITALIZED}(?:\s+{_PARTICLE}\s+{_CAPITALIZED}|\s+{_CAPITALIZED})*")
_FOREIGN_WORD = re.compile(rf"(?<![^\W{CJK}])[A-Za-z][A-Za-z'’&-]+(?![^\W{CJK}])")
_WORD = re.compile(rf"[^\W_{CJK}]+")
_TITLE = re.compile(r"\b(?:Mr|Mrs|Ms|Dr|Prof|St)\.$")
_POSSESSIVE = re.compile(r"['’]s?$")
_FOLLOWING_WORD = re.compile(r"(?:['’]s)?\s+([a-z]{3,})")

_GENERIC_WORDS = """
    a an the of and in on at for to mr mrs ms dr prof professor president king queen sir saint st
    lord lady pope general captain company corporation corp inc ltd llc co group department office
    branch division team university college school institute hospital hotel bank bridge street road
    avenue square river lake mountain mount island city town county state province country north
    south east west northern southern eastern western new old great act law article chapter section
    table figure part version error code type model class room building floor line bus train station
    airport port gate park january february march april may june july august september october
    november december monday tuesday wednesday thursday friday saturday sunday i i'm i've i'll i'd
    english chinese
"""
# They stand in names of things and persons, and alone tell nothing apart.
_GENERIC = frozenset(_GENERIC_WORDS.split())
_CHINESE_SUFFIX = re.compile(
    "(?:分公司|公司|集团|大学|学院|医院|银行|大桥|桥|部门|部|处|科|组|室|省|市|县|区|镇|村|路|街|楼|店|厂"
    "|站|线|国|人|语|族)$"
)

# Endings of countries and their people: Nigeria and Nigerian, Japan and Japanese.
_PEOPLE_ENDING = re.compile(r"(?:ians?|eans?|ans?|ese|ish|ia|is?|a|e|y)$")
# Countries whose people have a name of their own.
_PEOPLES = {
    "africa": "african africans",
    "america": "american americans",
    "asia": "asian asians",
    "austria": "austrian austrians",
    "brazil": "brazilian brazilians",
    "britain": "british briton britons uk",
    "china": "chinese",
    "canada": "canadian canadians",
    "cuba": "cuban cubans",
    "denmark": "danish danes",
    "egypt": "egyptian egyptians",
    "england": "english",
    "europe": "european europeans",
    "finland": "finnish finns",
    "france": "french",
    "germany": "german germans",
    "greece": "greek greeks",
    "india": "indian indians",
    "iraq": "iraqi iraqis",
    "iran": "iranian iranians",
    "ireland": "irish",
    "israel": "israeli israelis",
    "italy": "italian italians",
    "japan": "japanese",
    "kenya": "kenyan kenyans",
    "korea": "korean koreans",
    "mexico": "mexican mexicans",
    "netherlands": "dutch",
    "norway": "norwegian norwegians",
    "peru": "peruvian",
    "philippines": "filipino filipinos",
    "poland": "polish poles",
    "portugal": "portuguese",
    "russia": "russian russians",
    "sahara": "saharan",
    "scotland": "scottish scots",
    "spain": "spanish spaniards",
    "sweden": "swedish swedes",
    "switzerland": "swiss",
    "thailand": "thai",
    "turkey": "turkish turks",
    "wales": "welsh",
}
_COUNTRY_OF = {people: country for country, names in _PEOPLES.items() for people in names.split()}


@dataclass(frozen=True, slots=True)
class Name:
    """A name in a question.

    Attributes:
        text: the name as the question writes it.
        form: the folded name without what is often left out, to look for in folded texts.
        head: the word that the name determines, "branch" in "the Hamburg branch"; or "".
    """

    text: str
    form: str
    head: str = ""


def names_in(question: str) -> Iterator[Name]:
    """The names in a question, which is normalized (NFKC)."""
    if IDEOGRAPH.search(question):
        yield from _names_in_chinese(question)
    elif not _is_headline(question):
        for match in _NAME.finditer(question):
            yield from _name(question, match)


def is_about_name(form: str, head: str, text: str, passage: str) -> bool:
    """Whether a passage has a name, and a text of it has no other name in its place.

    Args:
        form, head: the name's, in the question.
    """
    if not _has_name(passage, form):
        return False
    return not head or _has_name(text, form) or not _has_rival(text, head)


def _names_in_chinese(question: str) -> Iterator[Name]:
    """The names in a Chinese question, and its foreign words."""
    for name, following in names_of(fold(question)):
        core = _CHINESE_SUFFIX.sub("", name)
        yield Name(name, core if len(core) > 1 else name, following)
    for word, character in rare_characters_of(fold(question)):
        yield Name(word, character)
    for match in _FOREIGN_WORD.finditer(question):
        word = match.group().casefold()
        if word not in _GENERIC:
            yield Name(match.group(), word)


def _is_headline(text: str) -> bool:
    """Whether All Words of a Question Begin Like This, so that capitals tell nothing."""
    words: list[str] = re.findall(r"[A-Za-z][\w'’-]*", text)[1:]
    has_plain = any(len(word) > 3 and word[0].islower() for word in words)
    return not has_plain and sum(word[0].isupper() for word in words) > 2


def _name(question: str, run: re.Match[str]) -> Iterator[Name]:
    """The name in a run of words with capitals; none if all of them are generic."""
    words = run.group().split()
    before = question[: run.start()].rstrip()
    is_first = run.start() == 0 or before.endswith((".", "?", "!", ":"))
    if is_first and not _TITLE.search(before):
        words = words[1:]  # the first word of a sentence has a capital anyway
    parts = [_POSSESSIVE.sub("", word).casefold() for word in words]
    specific = [part for part in parts if part not in _GENERIC]
    if not specific:
        return
    start = parts.index(specific[0])
    # A generic word after the only specific one is often left out: "Hamburg" for "Hamburg Branch".
    end = start + 1 if len(specific) == 1 else len(parts)
    following = _FOLLOWING_WORD.match(question, run.end())
    head = following[1] if following and stem(following[1]) not in FUNCTION_WORDS else ""
    yield Name(" ".join(words[start:]), " ".join(parts[start:end]), head)


def _has_name(text: str, form: str) -> bool:
    """Whether a text has a name, in full or as it is often shortened."""
    folded = fold(text)
    if IDEOGRAPH.match(form):
        return form in folded
    words = form.split()
    pattern = r"\W+".join(map(_in_any_number, words))
    if re.search(rf"(?<![^\W{CJK}]){pattern}(?:['’]s)?(?![^\W{CJK}])", folded):
        return True
    if len(words) == 1:
        return _spells_out(text, form) or not _roots(form).isdisjoint(_roots_in(folded))
    return _has_initials(folded, words) or _has_part(text, words)


def _in_any_number(word: str) -> str:
    """A pattern for a word in the singular and in the plural."""
    ending = re.search("(?:(?<=ch|sh|ss)es|(?<![s'])s)$", word) if len(word) > 3 else None
    return re.escape(word[: ending.start()] if ending else word) + "(?:e?s)?"


def _has_initials(folded: str, words: list[str]) -> bool:
    """Whether a folded text has a name's initials, such as UN or U.N. for United Nations."""
    initials = [re.escape(word[0]) for word in words if word not in _GENERIC]
    pattern = r"\.?".join(initials)
    return len(initials) > 1 and re.search(rf"(?<!\w){pattern}(?!\w)", folded) is not None


def _has_part(text: str, words: list[str]) -> bool:
    """Whether a text has the first or last word of a name, and not as part of another name.

    "Schmidt" is Anna Schmidt where no other word of a name stands before it.
    """
    first, last = (rf"(?<!\w)(?i:{re.escape(word)})(?!\w)" for word in (words[0], words[-1]))
    other = rf"(?!(?:{'|'.join(map(re.escape, words))})\b)[A-ZÀ-Þ]\w+"
    has_last = words[-1] not in _GENERIC and re.search(last, text)
    if has_last and not re.search(rf"{other}\s+{last}", text):
        return True
    has_first = words[0] not in _GENERIC and re.search(first, text)
    return bool(has_first and not re.search(rf"{first}\s+{other}", text))


def _spells_out(text: str, acronym: str) -> bool:
    """Whether a text has words in a row with these initials, such as United Nations for UN."""
    letters = [letter for letter in acronym if letter.isalpha()]
    if not 2 <= len(letters) <= 6:
        return False
    words = (rf"(?i:{letter})\w+" for letter in letters)
    pattern = r"\s+(?:(?:of|the|and|for|in)\s+)*".join(words)
    return re.search(rf"(?<!\w){pattern}", text) is not None


@lru_cache(maxsize=4096)
def _roots_in(folded: str) -> frozenset[str]:
    """The roots of all words of a folded text."""
    return frozenset(root for word in _WORD.findall(folded) for root in _roots(word))


def _roots(word: str) -> frozenset[str]:
    """The stem of a word, and of a country or its people the country's name without ending."""
    country = _COUNTRY_OF.get(word, word)
    return frozenset({stem(word), _PEOPLE_ENDING.sub("", country) if len(country) > 6 else country})


def _has_rival(text: str, head: str) -> bool:
    """Whether another name determines the head: "the Bremen branch", 北京分公司."""
    if IDEOGRAPH.match(head):
        rival = rf"[{CJK}](?<![该本此的各在这那两]){re.escape(head)}"
        return re.search(rival, fold(text)) is not None
    rival = rf"(?<![.!?]\s)(?<!^)[A-ZÀ-Þ]\w+\s+(?i:{re.escape(head)})"
    return re.search(rival, text) is not None
