"""Quotes: found in a document's text and placed at their offset, or refused."""

from __future__ import annotations

import re
import unicodedata

from moli.retrieval.tokens import CJK

# Marks that typists and models exchange freely; anything else must match to the letter.
_SAME = str.maketrans(
    {"“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "‘": "'", "’": "'", "–": "-", "—": "-",
     "‐": "-", "‑": "-", "−": "-", "\u00ad": None, "\u200b": None}
)  # fmt: skip


_WORD = re.compile(rf"[^\W{CJK}]")


def find_quote(text: str, quote: str) -> tuple[int, int] | None:
    """Where `quote` stands in `text`, as (start, end), or None if it does not.

    White space, quotation marks and dashes may differ in kind; every other character has to match,
    in order and without gaps: a quote with something left out is no quote. Nor is one that begins
    or ends inside a word or a number: "5 euros" does not stand in "15 euros".
    """
    wanted = _plain(quote)[0].strip()
    if not wanted:
        return None
    plain, offsets = _plain(text)
    at = plain.find(wanted)
    while at >= 0:
        end = at + len(wanted)
        if not (_within_word(plain, at) or _within_word(plain, end)):
            return offsets[at], offsets[end - 1] + 1
        at = plain.find(wanted, at + 1)
    return None


def _within_word(text: str, at: int) -> bool:
    """Whether `at` parts a word or number, a decimal fraction included."""
    before, after = text[max(at - 1, 0) : at], text[at : at + 1]
    if _WORD.match(before) and _WORD.match(after):
        return True
    around = text[max(at - 2, 0) : at + 2]
    return bool(re.fullmatch(r"\d[.,]\d\d?|\d\d?[.,]\d", around)) and at > 0


def _plain(text: str) -> tuple[str, list[int]]:
    """`text` in plain marks and single spaces, and the offset each character came from."""
    characters: list[str] = []
    offsets: list[int] = []
    for offset, original in enumerate(text):
        for character in unicodedata.normalize("NFKC", original).translate(_SAME):
            if character.isspace():
                if characters and characters[-1] == " ":
                    continue
                character = " "
            characters.append(character)
            offsets.append(offset)
    return "".join(characters), offsets
