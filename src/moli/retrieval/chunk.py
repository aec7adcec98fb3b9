"""Chunking of documents into passages: by structure first, then by length.

The passages cover the document in order, without gaps and without overlap.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Container, Iterator
from itertools import pairwise

from moli.records.documents import Chunk, Outline, ParsedDocument
from moli.retrieval.chinese import IDEOGRAPH
from moli.retrieval.sentences import sentence_spans
from moli.retrieval.tables import CELL_END

# Weights are in Latin characters. Most encoders have a token for each ideograph, and its meaning is
# about that of a third of an English word.
MAX_WEIGHT = 1600
MIN_WEIGHT = 300
_IDEOGRAPH_WEIGHT = 3
_MAX_HEADER = 1000
_BLOCK_END = re.compile(r"\n[ \t]*\n\s*")


def chunk_document(document: ParsedDocument) -> list[Chunk]:
    """The chunks of a document, each of at most `MAX_WEIGHT`; none if its text is blank.

    A section begins a chunk, unless the one before is short, and so does a slide, a sheet, or
    another page that begins with a heading. A chunk that begins inside a table has the table's
    first row in its heading.
    """
    text = document.text
    if not text.strip():
        return []
    section_starts = {heading.offset for heading in document.headings}
    page_starts = _starts_of_short_or_titled_pages(document, section_starts)
    starts = [0]
    filled = 0  # weight of the chunk so far
    for start, end in _cuttable_spans(text):
        weight = _weight(text[start:end])
        opens_section = start in section_starts and filled >= MIN_WEIGHT
        opens = opens_section or start in page_starts
        if start > 0 and filled and (opens or filled + weight > MAX_WEIGHT):
            starts.append(start)
            filled = 0  # weight of the chunk so far
        filled += weight
    ends = [*starts[1:], len(text)]
    outline = Outline(document.headings)
    block_starts = [0, *(match.end() for match in _BLOCK_END.finditer(text))]
    chunks = []
    for start, end in zip(starts, ends, strict=True):
        block_start = block_starts[bisect_right(block_starts, start) - 1]
        header = _table_header(text, block_start, start)
        chunks.append(Chunk(start, end, " > ".join(filter(None, (outline.path(start), header)))))
    return chunks


def _starts_of_short_or_titled_pages(
    document: ParsedDocument, section_starts: Container[int]
) -> set[int]:
    """Starts of the pages that begin with a heading or after a short page, as slides do."""
    return {
        start
        for previous, start in pairwise(document.pages)
        if start in section_starts or _weight(document.text[previous:start]) < MIN_WEIGHT
    }


def _table_header(text: str, block_start: int, start: int) -> str:
    """The first row of the table that `start` is inside of; empty outside of tables.

    A row that begins with a number is data, and no header.

    Args:
        block_start: offset at which the block around `start` begins.
    """
    line = text[start : start + _MAX_HEADER].partition("\n")[0]
    if start == block_start or CELL_END not in line:
        return ""
    for row in text[block_start : min(start, block_start + _MAX_HEADER)].split("\n")[:-1]:
        if CELL_END in row:
            cells = row.split(CELL_END)
            named = sum(not cell[:1].isdigit() for cell in cells)
            return row if named > len(cells) / 2 else ""
    return ""


def _cuttable_spans(text: str) -> Iterator[tuple[int, int]]:
    """Spans between which chunks may end; they cover the text in order, without gaps."""
    start = 0
    for match in (*_BLOCK_END.finditer(text), None):
        end = match.end() if match else len(text)
        if end > start:
            yield from _spans_of_block(text, start, end)
        start = end


def _spans_of_block(text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """A block as one span if it fits into a chunk, else cut between sentences, lines or words."""
    if _weight(text[start:end]) <= MAX_WEIGHT:
        yield start, end
        return
    cuts = [start + first for first, _ in sentence_spans(text[start:end])][1:]
    for first, last in zip([start, *cuts], [*cuts, end], strict=True):
        while (middle := _cut_before_limit(text, first, last)) < last:
            yield first, middle
            first = middle
        yield first, last


def _cut_before_limit(text: str, start: int, end: int) -> int:
    """The last good offset for a cut at most `MAX_WEIGHT` after `start`; `end` if all fits."""
    limit = start
    weight = 0
    while limit < end and weight < MAX_WEIGHT - _IDEOGRAPH_WEIGHT:
        weight += _IDEOGRAPH_WEIGHT if IDEOGRAPH.match(text[limit]) else 1
        limit += 1
    if limit == end:
        return end
    for mark in ("\n", "，", ", ", " "):
        offset = text.rfind(mark, start + (limit - start) // 2, limit)
        if offset > start:
            return offset + len(mark)
    return limit


def _weight(text: str) -> int:
    """Length of a text in Latin characters; an ideograph counts as several of them."""
    return len(text) + (_IDEOGRAPH_WEIGHT - 1) * len(IDEOGRAPH.findall(text))
