"""Documents to passages: by structure first, then by length.

Passages tile the document: none overlap, none is missing, and their texts in order are the text.
So an offset in a passage is an offset in the document, and nothing is stored twice.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from moli.records.documents import Chunk, Outline, ParsedDocument
from moli.retrieval.sentences import sentence_spans
from moli.retrieval.tokens import CJK

# Weights are in Latin characters. An ideograph is a token of its own to most encoders, and about
# a third of an English word's length in meaning.
MAX_WEIGHT = 1600
MIN_WEIGHT = 300
_IDEOGRAPH_WEIGHT = 3
_IDEOGRAPH = re.compile(f"[{CJK}]")
_BLOCK_END = re.compile(r"\n[ \t]*\n\s*")


def chunk(document: ParsedDocument) -> list[Chunk]:
    """Cut a document into passages of at most `MAX_WEIGHT`; a text of white space has none."""
    text = document.text
    if not text.strip():
        return []
    section_starts = {heading.offset for heading in document.headings}
    starts = [0]
    filled = 0
    for start, end in _units(text):
        weight = _weight(text[start:end])
        opens_section = start in section_starts and filled >= MIN_WEIGHT
        if start > 0 and filled and (opens_section or filled + weight > MAX_WEIGHT):
            starts.append(start)
            filled = 0
        filled += weight
    ends = [*starts[1:], len(text)]
    outline = Outline(document.headings)
    return [Chunk(start, end, outline.path(start)) for start, end in zip(starts, ends, strict=True)]


def _units(text: str) -> Iterator[tuple[int, int]]:
    """The smallest stretches a boundary may fall between; they tile the text."""
    start = 0
    for match in (*_BLOCK_END.finditer(text), None):
        end = match.end() if match else len(text)
        if end > start:
            yield from _pieces(text, start, end)
        start = end


def _pieces(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """A block as it is if it fits, else cut between sentences, else between lines or words."""
    if _weight(text[start:end]) <= MAX_WEIGHT:
        yield start, end
        return
    cuts = [start + first for first, _ in sentence_spans(text[start:end])][1:]
    for first, last in zip([start, *cuts], [*cuts, end], strict=True):
        while (middle := _cut(text, first, last)) < last:
            yield first, middle
            first = middle
        yield first, last


def _cut(text: str, start: int, end: int) -> int:
    """The last good place to cut at most a full passage after `start`; `end` if all fits."""
    limit = start
    weight = 0
    while limit < end and weight < MAX_WEIGHT - _IDEOGRAPH_WEIGHT:
        weight += _IDEOGRAPH_WEIGHT if _IDEOGRAPH.match(text[limit]) else 1
        limit += 1
    if limit == end:
        return end
    for mark in ("\n", "，", ", ", " "):
        found = text.rfind(mark, start + (limit - start) // 2, limit)
        if found > start:
            return found + len(mark)
    return limit


def _weight(text: str) -> int:
    return len(text) + (_IDEOGRAPH_WEIGHT - 1) * len(_IDEOGRAPH.findall(text))
