"""Questions without an answer, made from answerable ones: an entity is swapped for another.

A number, a name, a title or a code of the question that stands in its paragraph is replaced by one
of the same kind from another question. A name or a title must not stand in the library at all, or
the question might have an answer there; a number must not stand in the paragraph.
"""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import Any

_CJK = re.compile("[\u4e00-\u9fff]")
_PATTERNS = {
    "year": re.compile(r"(?<![\d.,])(?:1\d{3}|20\d{2})(?![\d.,])"),
    "number": re.compile(r"(?<![\w.,])\d+(?:[.,]\d+)*(?![\w.,]?\d)"),
    "title": re.compile("《[^》]{2,20}》"),
    "latin": re.compile(r"(?<![A-Za-z])[A-Z][A-Za-z0-9.-]{1,20}(?![A-Za-z])"),
    "name": re.compile(r"(?<=[a-z,] )[A-Z][a-z]+(?: [A-Z][a-z]+)*"),
}
_KINDS = {"en": ("year", "number", "name"), "zh": ("year", "number", "title", "latin")}
_NUMERIC = ("year", "number")
_TAGS = {"ns": "place", "nr": "person", "nt": "organization"}


def swapped(
    rows: Sequence[dict[str, Any]],
    others: Sequence[dict[str, Any]],
    language: str,
    count: int,
    seed: int = 0,
) -> list[str]:
    """`count` questions without an answer, from rows with a question and its paragraph.

    Args:
        others: rows about other things, whose questions have the entities to put in.
    """
    draw = random.Random(seed)
    rows = draw.sample(rows, min(len(rows), 6 * count))
    library = "\n".join({row["context"]: "" for row in rows}).casefold()
    pool: dict[str, list[str]] = defaultdict(list)
    for row in draw.sample(others, min(len(others), 6 * count)):
        for kind, text in entities(row["question"], language):
            if kind in _NUMERIC or text.casefold() not in library:
                pool[kind].append(text)
    made = []
    for row in rows:
        of_row = [each for each in entities(row["question"], language) if each[1] in row["context"]]
        if not of_row:
            continue
        kind, text = draw.choice(of_row)
        choices = [each for each in pool[kind] if each.casefold() not in row["context"].casefold()]
        if choices:
            made.append(row["question"].replace(text, draw.choice(choices), 1))
    return made[:count]


def entities(question: str, language: str) -> Iterator[tuple[str, str]]:
    """The entities of a question with their kinds."""
    for kind in _KINDS[language]:
        for match in _PATTERNS[kind].finditer(question):
            if not (kind == "number" and _PATTERNS["year"].fullmatch(match.group())):
                yield kind, match.group()
    if language == "zh":
        from jieba import posseg

        for word in posseg.cut(question):
            if word.flag in _TAGS and len(word.word) > 1:
                yield _TAGS[word.flag], word.word
