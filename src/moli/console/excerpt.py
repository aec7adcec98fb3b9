"""Excerpt of a long document around a quote."""

from __future__ import annotations

from dataclasses import dataclass

MAX_CHARACTERS = 20_000


@dataclass(frozen=True, slots=True)
class Excerpt:
    """Part of a document, in three pieces.

    Attributes:
        before, after: text before and after the quote.
        marked: the quote; "" if there is none.
        first, last: offsets of the part in the document.
        total: characters of the whole document.
    """

    before: str
    marked: str
    after: str
    first: int
    last: int
    total: int

    @property
    def is_part(self) -> bool:
        """Whether some of the document is left out."""
        return self.last - self.first < self.total


def excerpt(text: str, start: int, end: int, longest: int = MAX_CHARACTERS) -> Excerpt:
    """Cut out at most `longest` characters of a text, with `start:end` in their middle."""
    start = min(max(start, 0), len(text))
    end = min(max(end, start), start + longest, len(text))
    first = max(0, start - (longest - (end - start)) // 2)
    last = min(len(text), first + longest)
    first = max(0, last - longest)
    return Excerpt(text[first:start], text[start:end], text[end:last], first, last, len(text))
