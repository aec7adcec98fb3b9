"""Verification of quotes: the position of a quote in a text that should contain it."""

from __future__ import annotations

import re
import unicodedata

from moli.retrieval.chinese import CJK

# Marks that typists and models use interchangeably; all other characters must match exactly.
_EQUIVALENT = str.maketrans(
    {"“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "‘": "'", "’": "'", "–": "-", "—": "-",
     "‐": "-", "‑": "-", "−": "-", "\u00ad": None, "\u200b": None}
)  # fmt: skip


_WORD = re.compile(rf"[^\W{CJK}]")


def find_quote(text: str, quote: str) -> tuple[int, int] | None:
    """The start and end of a quote in a text; None if the text does not contain it.

    White space, quotation marks and dashes may differ in kind; every other character has to match,
    in order and without gaps. A quote may not begin or end inside a word or a number: "15 euros"
    does not contain the quote "5 euros".
    """
    target = _normalize(quote)[0].strip()
    if not target:
        return None
    normalized, offsets = _normalize(text)
    at = normalized.find(target)
    while at >= 0:
        end = at + len(target)
        if not (_is_within_word(normalized, at) or _is_within_word(normalized, end)):
            return offsets[at], offsets[end - 1] + 1
        at = normalized.find(target, at + 1)
    return None


def _is_within_word(text: str, at: int) -> bool:
    """Whether the offset `at` is inside a word or a number, such as a decimal fraction."""
    before, after = text[max(at - 1, 0) : at], text[at : at + 1]
    if _WORD.match(before) and _WORD.match(after):
        return True
    around = text[max(at - 2, 0) : at + 2]
    return bool(re.fullmatch(r"\d[.,]\d\d?|\d\d?[.,]\d", around)) and at > 0


def _normalize(text: str) -> tuple[str, list[int]]:
    """The text with ASCII marks and single spaces, and each character's offset in the original."""
    characters: list[str] = []
    offsets: list[int] = []
    for offset, original in enumerate(text):
        for character in unicodedata.normalize("NFKC", original).translate(_EQUIVALENT):
            if character.isspace():
                if characters and characters[-1] == " ":
                    continue
                character = " "
            characters.append(character)
            offsets.append(offset)
    return "".join(characters), offsets
