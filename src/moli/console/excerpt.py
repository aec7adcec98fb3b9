"""The part of a document that is shown around a quote."""

from __future__ import annotations

from dataclasses import dataclass

LONGEST = 20_000


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A document's text from `first` to `last`, in three parts of which the middle is marked."""

    before: str
    marked: str
    after: str
    first: int
    last: int
    total: int

    @property
    def is_part(self) -> bool:
        return self.last - self.first < self.total


def excerpt(text: str, start: int, end: int, longest: int = LONGEST) -> Excerpt:
    """At most `longest` characters of `text`, with `start:end` in their middle."""
    start = min(max(start, 0), len(text))
    end = min(max(end, start), start + longest, len(text))
    first = max(0, start - (longest - (end - start)) // 2)
    last = min(len(text), first + longest)
    first = max(0, last - longest)
    return Excerpt(text[first:start], text[start:end], text[end:last], first, last, len(text))
