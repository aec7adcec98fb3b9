"""Codes in texts: words of letters and digits that stand for one thing, such as B7 or E-4021."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

from moli.retrieval.sentences import TextSpan
from moli.retrieval.units import is_quantity

_CODE = re.compile(
    r"""(?<![A-Za-z0-9_.])(?:
      [a-z]+[-./\#]?\d[a-z0-9]*(?:[-./][a-z0-9]+)*     # B7, E-4021, M8x25, COVID-19
    | \d+(?:[-./][a-z0-9]+)*[-./]?[a-z]+\d[a-z0-9]*    # 3B7, 2024-A3
    | \d+\.\d+\.\d+(?:\.\d+)*                          # 2.1.10
    | \d+[-/]?[a-z]                                    # 12b
    )(?![A-Za-z0-9_])""",
    re.IGNORECASE | re.VERBOSE,
)
# One or two letters before a number; longer words, "a" and "I" are words of the sentence.
_SPACE_INSIDE = re.compile(r"(?<![A-Za-z0-9])([b-hj-zB-HJ-Z]|[A-Z]{2}) (?=\d)")
_SEPARATOR = re.compile(r"[-\s#]")


@dataclass(frozen=True, slots=True)
class Code:
    """A code as it is written, and in the form in which it is compared: "e4021" for "E-4021"."""

    text: str
    span: TextSpan
    form: str


def codes_in(text: str) -> list[Code]:
    """The codes of a text, without quantities such as 5km."""
    return [
        Code(match.group(), match.span(), _form(match.group()))
        for match in _CODE.finditer(text)
        if not is_quantity(match.group())
    ]


@lru_cache(maxsize=4096)
def code_forms(text: str) -> frozenset[str]:
    """The forms of all that may be a code in a text, also with a space inside: "B 7"."""
    normalized = unicodedata.normalize("NFKC", text)
    joined = _SPACE_INSIDE.sub(r"\1", normalized)
    return frozenset(
        _form(match.group()) for source in (normalized, joined) for match in _CODE.finditer(source)
    )


def shape(form: str) -> str:
    """A code's form with 0 for each run of digits and A for each run of letters."""
    return re.sub(r"[a-z]+", "A", re.sub(r"\d+", "0", form))


def _form(code: str) -> str:
    return _SEPARATOR.sub("", code.casefold())
