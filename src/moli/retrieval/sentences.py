"""Sentence boundaries in English and Chinese text."""

from __future__ import annotations

import re

TextSpan = tuple[int, int]  # start and end, as offsets in characters

_END = re.compile(
    r"""
      [。！？；…]+[”’」』）\]"']*            # Chinese: the mark alone ends the sentence
    | (?<![.!?])[.!?]+[”’"')\]]*(?=\s+[“‘"'(\[]*[^\sa-z])  # Latin: a mark, a space, no lower case
    | \n[ \t]*\n\s*                          # a blank line ends a block
    | \n(?=[ \t]*(?:[-*•·]|\d+[.)、])\s)       # a line that begins an item of a list
    | \n(?=[^\n]*\ \|\ )                      # a row of a table
    """,
    re.VERBOSE,
)
_ABBREVIATION = re.compile(
    r"(?:^|[\s(\[])(?:Mr|Mrs|Ms|Dr|Prof|Sr|Jr|St|vs|No|Nos|Fig|Figs|Eq|Sec|Ch|vol|pp?|cf|al|etc"
    r"|e\.g|i\.e|approx|Inc|Ltd|Co|Corp|Gen|Col|Capt|Lt|Sgt|Rev|Hon|[A-Z])\.$"
    r"|(?<![^\n])[ \t]*\d{1,3}\.$"  # the number of an item of a list
)


def sentence_spans(text: str) -> list[TextSpan]:
    """Spans of the sentences of a text, without white space at their ends."""
    spans: list[TextSpan] = []
    start = 0
    for match in _END.finditer(text):
        if match.group() == "." and _ABBREVIATION.search(text, max(0, start), match.end()):
            continue
        _append_trimmed(spans, text, start, match.end())
        start = match.end()
    _append_trimmed(spans, text, start, len(text))
    return spans


def _append_trimmed(spans: list[TextSpan], text: str, start: int, end: int) -> None:
    """Append the span without white space at its ends, unless nothing is left of it."""
    piece = text[start:end]
    trimmed = piece.strip()
    if trimmed:
        first = start + piece.index(trimmed)
        spans.append((first, first + len(trimmed)))
