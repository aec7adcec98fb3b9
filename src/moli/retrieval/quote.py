"""Quotes: found in a document's text and placed at their offset, or refused."""

from __future__ import annotations

import unicodedata

# Marks that typists and models exchange freely; anything else must match to the letter.
_SAME = str.maketrans(
    {"“": '"', "”": '"', "„": '"', "«": '"', "»": '"', "‘": "'", "’": "'", "–": "-", "—": "-",
     "‐": "-", "‑": "-", "−": "-", "\u00ad": None, "\u200b": None}
)  # fmt: skip


def find_quote(text: str, quote: str) -> tuple[int, int] | None:
    """Where `quote` stands in `text`, as (start, end), or None if it does not.

    White space, quotation marks and dashes may differ in kind; every other character has to match,
    in order and without gaps: a quote with something left out is no quote.
    """
    wanted, _ = _plain(quote)
    wanted = wanted.strip()
    if not wanted:
        return None
    exact = text.find(quote.strip())
    if exact >= 0:
        return exact, exact + len(quote.strip())
    plain, offsets = _plain(text)
    at = plain.find(wanted)
    if at < 0:
        return None
    return offsets[at], offsets[at + len(wanted) - 1] + 1


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
