"""Entities of a question that an answer has to be about: numbers, codes, days, names and others.

A sentence on bridge B6 does not answer a question about bridge B7, however similar both are. So a
candidate that lacks an entity of the question is no answer, and the refusal names the entity.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from moli.retrieval.answer_kinds import has_telephone, requested_telephone
from moli.retrieval.codes import code_forms, codes_in, shape
from moli.retrieval.contrasts import contrasts_in, excludes
from moli.retrieval.days import days_of_question, excludes_day
from moli.retrieval.names import is_about_name, names_in
from moli.retrieval.numerals import dates_in, in_digits, numbers_in
from moli.retrieval.sentences import TextSpan
from moli.retrieval.tokens import fold
from moli.retrieval.units import has_unit, requested_unit

Kind = Literal["date", "code", "number", "year", "name", "day", "contrast", "unit", "telephone"]

_YEAR = re.compile(r"(?<![\d.,])(1[0-9]{3}|20[0-9]{2})(?![\d.,]\d|\d)")


@dataclass(frozen=True, slots=True)
class Entity:
    """Something that a question names.

    Attributes:
        text: the words of the question.
        forms: the form in which a code, a number or a name is compared; year, month and day of a
            date; the families of a unit.
        head: the word that a name determines, "branch" in "the Hamburg branch"; or "".
    """

    kind: Kind
    text: str
    forms: tuple[str, ...]
    head: str = ""

    @property
    def is_universal(self) -> bool:
        """Whether it is written alike in all languages."""
        return self.kind in ("code", "number", "year", "date", "day")


def entities(question: str) -> list[Entity]:
    """The entities of a question, in order of their kinds."""
    text = in_digits(unicodedata.normalize("NFKC", question).strip())
    # No digit of a date counts as a number too, and none of a code.
    dates = dates_in(text)
    rest = _without(text, [date.span for date in dates])
    codes = codes_in(rest)
    rest = _without(rest, [code.span for code in codes])
    result = [Entity("date", date.text, date.parts) for date in dates]
    result += [Entity("code", code.text, (code.form,)) for code in codes]
    days = days_of_question(rest)
    rest = _without(rest, [day.span for day in days])
    for number in numbers_in(rest, question=True):
        kind: Kind = "year" if _YEAR.fullmatch(number.value) else "number"
        result.append(Entity(kind, number.text, (number.value,)))
    result += [Entity("name", name.text, (name.form,), name.head) for name in names_in(rest)]
    result += [Entity("day", day.text, (day.name,)) for day in days]
    result += [Entity("contrast", word, (word,)) for word in contrasts_in(rest)]
    if unit := requested_unit(text):
        result.append(Entity("unit", *unit))
    if words := requested_telephone(text):
        result.append(Entity("telephone", words, (words,)))
    return result


def missing_entities(
    required: Sequence[Entity], own: str, around: str, passage: str, above: str = ""
) -> tuple[str, ...]:
    """The entities, in the words of the question, that a candidate is not about.

    Args:
        required: entities of the question.
        own: the candidate's text.
        around: text that tells more about it: headings, header and neighbors.
        passage: the whole passage with headings; for a row or a line of a form, `around` again.
        above: what stands above a row or a line of a form, without those beside it, which may be
            about the contrary; else "".
    """
    near = f"{own}\n{around}"
    above = f"{own}\n{above}" if above else near
    missing = [each.text for each in required if not _is_about(each, own, near, passage, above)]
    parts = {each for each in missing for other in missing if each != other and each in other}
    return tuple(dict.fromkeys(each for each in missing if each not in parts))


def _is_about(entity: Entity, own: str, near: str, passage: str, above: str) -> bool:
    """Whether a candidate has an entity, or its passage does and the candidate no rival of it."""
    form = entity.forms[0]
    match entity.kind:
        case "date":
            return any(_agree(parts, entity.forms) for parts in _dates(passage))
        case "code":
            if form in code_forms(near):
                return True
            is_rival = any(shape(each) == shape(form) for each in code_forms(own))
            return form in code_forms(passage) and not is_rival
        case "number":
            return form in _numbers(near) or form in _numbers(passage)
        case "year":
            if form in _numbers(near):
                return True
            return form in _numbers(passage) and not _YEAR.search(near)
        case "name":
            return is_about_name(form, entity.head, own, passage)
        case "day":
            return not excludes_day(near, form)
        case "contrast":
            return not excludes(own, above, form)
        case "unit":
            return not _numbers(own) or any(has_unit(each, fold(own)) for each in entity.forms)
        case "telephone":
            return has_telephone(own)


def _without(text: str, spans: Sequence[TextSpan]) -> str:
    """The text with spaces in place of spans."""
    for start, end in spans:
        text = text[:start] + " " * (end - start) + text[end:]
    return text


@lru_cache(maxsize=4096)
def _numbers(text: str) -> frozenset[str]:
    """The values of the numbers of a text."""
    return frozenset(each.value for each in numbers_in(unicodedata.normalize("NFKC", text)))


@lru_cache(maxsize=4096)
def _dates(text: str) -> tuple[tuple[str, ...], ...]:
    """The years, months and days of the dates of a text."""
    return tuple(each.parts for each in dates_in(unicodedata.normalize("NFKC", text)))


def _agree(one: tuple[str, ...], other: tuple[str, ...]) -> bool:
    """Whether two dates (year, month, day) are the same as far as both are known."""
    return all(a == b or not a or not b for a, b in zip(one, other, strict=True))
