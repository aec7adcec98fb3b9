"""From the characters of a page to stretches of text on one baseline.

Coordinates grow to the right and downwards, in the direction in which the text is read.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

_LEADERS = re.compile(r"(?:\s?[.…·]){5,}")
# TeX sets accents as characters of their own.
_ACCENTS = {"´": "\u0301", "`": "\u0300", "¨": "\u0308", "ˆ": "\u0302", "˜": "\u0303",
            "¸": "\u0327", "ˇ": "\u030c", "˘": "\u0306", "˚": "\u030a"}  # fmt: skip


class Glyph(NamedTuple):
    """A character, its box with the origin at the lower left, and the angle of its baseline."""

    text: str
    left: float
    bottom: float
    right: float
    top: float
    angle: float

    @property
    def size(self) -> float:
        """The height of the box across the baseline; 0 for white space."""
        if self.angle and round(self.angle / (math.pi / 2)) % 2:
            return self.right - self.left
        return self.top - self.bottom


@dataclass(slots=True)
class Segment:
    """Text on one baseline without a wide gap."""

    text: str
    left: float
    top: float
    right: float
    bottom: float
    size: float

    @property
    def width(self) -> float:
        return self.right - self.left

    @property
    def middle(self) -> float:
        return (self.left + self.right) / 2

    def beside(self, other: "Segment") -> bool:
        """Whether both stand on one line."""
        overlap = min(self.bottom, other.bottom) - max(self.top, other.top)
        return overlap > 0.5 * min(self.size, other.size)

    def distance(self, other: "Segment") -> float:
        """The gap between both from side to side; negative where they overlap."""
        return max(other.left - self.right, self.left - other.right)

    def above_or_below(self, other: "Segment") -> bool:
        """Whether both stand in one column."""
        overlap = min(self.right, other.right) - max(self.left, other.left)
        return overlap > 0.5 * min(self.width, other.width)


def plain(glyphs: Iterable[Glyph]) -> list[str]:
    """The lines of the file's own text."""
    return "".join(glyph.text for glyph in glyphs).split("\n")


def turn_of(glyph: Glyph) -> int:
    """Quarter turns of the baseline."""
    return round(glyph.angle / (math.pi / 2)) % 4 if glyph.angle else 0


def _turned(glyphs: Iterable[Glyph], turn: int) -> Iterator[tuple[str, Segment | None]]:
    """Each character that reads in that direction, with its box as seen by the reader."""
    for glyph in glyphs:
        text, x0, y0, x1, y1, _ = glyph
        if x0 == x1 and y0 == y1:
            yield text, None
        elif turn_of(glyph) != turn:
            continue
        elif turn == 0:
            yield text, Segment(text, x0, -y1, x1, -y0, y1 - y0)
        elif turn == 3:
            yield text, Segment(text, y0, x0, y1, x1, x1 - x0)
        elif turn == 2:
            yield text, Segment(text, -x1, y0, -x0, y1, y1 - y0)
        else:
            yield text, Segment(text, -y1, -x1, -y0, -x0, x1 - x0)


def segments(glyphs: Iterable[Glyph], turn: int) -> list[Segment]:
    """What reads in the direction `turn`, gathered until a line ends or a gap opens."""
    found: list[Segment] = []
    letters: list[Segment] = []
    text: list[str] = []

    def finish() -> None:
        if letters:
            found.append(_segment("".join(text), letters))
        letters.clear()
        text.clear()

    accent: Segment | None = None
    for character, box in _turned(glyphs, turn):
        if box is None:
            if character in "\r\n":
                finish()
            elif letters:
                text.append(" ")
            continue
        if letters and _parted(letters[-1], box):
            finish()
        if letters and character in _ACCENTS and _over(box, letters[-1]):
            text[-1] += _ACCENTS[character]
            continue
        if accent is not None and letters and _over(accent, box):
            text.pop()
            character += _ACCENTS[accent.text]
        if _lost_space(letters, box) and not text[-1].isspace():
            text.append(" ")
        accent = box if character in _ACCENTS else None
        letters.append(box)
        text.append(character)
    finish()
    return _forwards(found)


def _lost_space(letters: list[Segment], box: Segment) -> bool:
    """Whether a gap before `box`, though narrow, separates words: its neighbours have none."""
    if len(letters) < 2 or box.left - letters[-1].right <= 0.085 * box.size:
        return False
    before = letters[-1].left - letters[-2].right
    spaced = all(_is_spaced_script(part.text) for part in (*letters[-2:], box))
    return spaced and before < 0.03 * box.size


def _is_spaced_script(letter: str) -> bool:
    return letter.isalpha() and letter < "\u0530"  # Latin, Greek or Cyrillic


def _segment(text: str, letters: list[Segment]) -> Segment:
    """One segment; its size is that of most of its letters, whatever their accents."""
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    size = Counter(round(letter.size, 1) for letter in letters).most_common(1)[0][0]
    usual = [letter for letter in letters if abs(letter.size - size) < 0.1] or letters
    return Segment(
        _LEADERS.sub(" … ", text).strip(),
        min(letter.left for letter in letters),
        min(letter.top for letter in usual),
        max(letter.right for letter in letters),
        max(letter.bottom for letter in usual),
        size or 1.0,
    )


def _over(accent: Segment, letter: Segment) -> bool:
    """Whether an accent with a width of its own is drawn over a letter."""
    return letter.left - 0.5 < accent.middle < letter.right + 0.5 and letter.text.isalpha()


def _parted(last: Segment, box: Segment) -> bool:
    size = last.size if last.size > box.size else box.size
    if last.top == box.top and abs(box.left - last.right) < size:
        return False  # The common case, quickly.
    gap = last.distance(box)
    return gap > 1.2 * size or not (last.beside(box) or gap < size)


def _forwards(segments: list[Segment]) -> list[Segment]:
    """The segments, mirrored if they read from right to left, so that all else need not care."""
    letters = [letter for segment in segments for letter in segment.text if letter.isalpha()]
    backwards = sum(unicodedata.bidirectional(letter) in ("R", "AL") for letter in letters)
    if backwards > 0.5 * len(letters):
        for segment in segments:
            segment.left, segment.right = -segment.right, -segment.left
    return segments


def merged(row: Sequence[Segment]) -> Segment:
    """A row as one line; its size is that of the segment with most text."""
    if len(row) == 1:
        return row[0]
    text = row[0].text
    for last, segment in pairwise(row):
        apart = last.distance(segment) > 0.15 * segment.size
        text += f" {segment.text}" if apart else segment.text
    return Segment(
        text,
        min(segment.left for segment in row),
        min(segment.top for segment in row),
        max(segment.right for segment in row),
        max(segment.bottom for segment in row),
        max(row, key=lambda segment: len(segment.text)).size,
    )
