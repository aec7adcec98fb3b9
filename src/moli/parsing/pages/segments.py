"""Segments of a page: characters that follow each other on one baseline.

Segments use coordinates that grow to the right and downwards in the direction of reading.
"""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

from moli.parsing.pages.prose import is_unspaced

_LEADERS = re.compile(r"(?:\s?[.…·]){5,}")
# TeX sets accents as separate characters: accent -> combining character.
_ACCENTS = {"´": "\u0301", "`": "\u0300", "¨": "\u0308", "ˆ": "\u0302", "˜": "\u0303",
            "¸": "\u0327", "ˇ": "\u030c", "˘": "\u0306", "˚": "\u030a"}  # fmt: skip


class Glyph(NamedTuple):
    """A character with its bounding box and the angle of its baseline, in PDF coordinates.

    The origin is at the lower left of the page; white space has an empty box.
    """

    text: str
    left: float
    bottom: float
    right: float
    top: float
    angle: float

    @property
    def size(self) -> float:
        """Height of the box perpendicular to the baseline; 0 for white space."""
        if self.angle and round(self.angle / (math.pi / 2)) % 2:
            return self.right - self.left
        return self.top - self.bottom


@dataclass(slots=True)
class Segment:
    """Text on one baseline without a wide gap, with its bounding box and font size."""

    text: str
    left: float
    top: float
    right: float
    bottom: float
    size: float

    @property
    def width(self) -> float:
        """Width from the left edge to the right edge."""
        return self.right - self.left

    @property
    def center(self) -> float:
        """Horizontal position of the center."""
        return (self.left + self.right) / 2

    def is_on_line_of(self, other: "Segment") -> bool:
        """Whether both are on one line of text."""
        overlap = min(self.bottom, other.bottom) - max(self.top, other.top)
        return overlap > 0.5 * min(self.size, other.size)

    def horizontal_gap(self, other: "Segment") -> float:
        """Width of the gap between both; negative where they overlap."""
        return max(other.left - self.right, self.left - other.right)

    def shares_column_with(self, other: "Segment") -> bool:
        """Whether both are in one column: most of the narrower one's width is also the other's."""
        overlap = min(self.right, other.right) - max(self.left, other.left)
        return overlap > 0.5 * min(self.width, other.width)


Line = tuple[float, float, float, float]
"""Left, bottom, right and top of a horizontal or vertical line, in PDF coordinates."""

Box = tuple[float, float, float, float]
"""Left, top, right and bottom in reading coordinates."""

Character = tuple[str, Segment | None]
"""A character and its box in reading coordinates, which white space does not have."""


def lines_of_text(glyphs: Iterable[Glyph]) -> list[str]:
    """The text of the glyphs in file order, split at its line breaks."""
    return "".join(glyph.text for glyph in glyphs).split("\n")


def rotation_of(glyph: Glyph) -> int:
    """Rotation of the baseline in quarter turns, 0 to 3."""
    return round(glyph.angle / (math.pi / 2)) % 4 if glyph.angle else 0


def upright_characters(glyphs: Iterable[Glyph], rotation: int) -> Iterator[Character]:
    """The characters with that rotation, and white space of any, in reading coordinates."""
    for glyph in glyphs:
        text, x0, y0, x1, y1, _ = glyph
        if x0 == x1 and y0 == y1:
            yield text, None
        elif rotation_of(glyph) == rotation:
            left, top, right, bottom = reading_box(x0, y0, x1, y1, rotation)
            yield text, Segment(text, left, top, right, bottom, bottom - top)


def reading_box(x0: float, y0: float, x1: float, y1: float, rotation: int) -> Box:
    """A box in PDF coordinates, in the reading coordinates of text with that rotation."""
    if rotation == 0:
        return x0, -y1, x1, -y0
    if rotation == 1:
        return -y1, -x1, -y0, -x0
    if rotation == 2:
        return -x1, y0, -x0, y1
    return y0, x0, y1, x1


def segments(characters: Iterable[Character]) -> list[Segment]:
    """Characters split into segments where a line ends or a wide gap opens."""
    result: list[Segment] = []
    boxes: list[Segment] = []
    text: list[str] = []

    def end_segment() -> None:
        """Add what has been gathered to the result."""
        if boxes:
            result.append(_segment_of("".join(text), boxes))
        boxes.clear()
        text.clear()

    accent: Segment | None = None
    for character, box in characters:
        if box is None:
            if character in "\r\n":
                end_segment()
            elif boxes:
                text.append(" ")
            continue
        if boxes and _is_separate(boxes[-1], box):
            end_segment()
        if boxes and character in _ACCENTS and _is_drawn_over(box, boxes[-1]):
            text[-1] += _ACCENTS[character]
            continue
        if accent is not None and boxes and _is_drawn_over(accent, box):
            text.pop()
            character += _ACCENTS[accent.text]
        if _has_missing_space(boxes, box) and not text[-1].isspace():
            text.append(" ")
        accent = box if character in _ACCENTS else None
        boxes.append(box)
        text.append(character)
    end_segment()
    return _mirror_right_to_left(result)


def _has_missing_space(boxes: list[Segment], box: Segment) -> bool:
    """Whether a narrow gap before `box` separates words: the letters before it have none."""
    if len(boxes) < 2 or box.left - boxes[-1].right <= 0.085 * box.size:
        return False
    before = boxes[-1].left - boxes[-2].right
    spaced = all(_is_spaced_script(part.text) for part in (*boxes[-2:], box))
    return spaced and before < 0.03 * box.size


def _is_spaced_script(letter: str) -> bool:
    """Whether a letter is of a script that separates words by spaces: Latin, Greek or Cyrillic."""
    return letter.isalpha() and letter < "\u0530"


def _segment_of(text: str, boxes: list[Segment]) -> Segment:
    """The segment made of characters; its size is the commonest among their boxes."""
    text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    size = Counter(round(letter.size, 1) for letter in boxes).most_common(1)[0][0]
    usual = [letter for letter in boxes if abs(letter.size - size) < 0.1] or boxes
    return Segment(
        _LEADERS.sub(" … ", text).strip(),
        min(letter.left for letter in boxes),
        min(letter.top for letter in usual),
        max(letter.right for letter in boxes),
        max(letter.bottom for letter in usual),
        size or 1.0,
    )


def _is_drawn_over(accent: Segment, letter: Segment) -> bool:
    """Whether a separate accent is drawn over a letter."""
    return letter.left - 0.5 < accent.center < letter.right + 0.5 and letter.text.isalpha()


def _is_separate(last: Segment, box: Segment) -> bool:
    """Whether `box` is on another line than `last`, or behind a wide gap."""
    size = last.size if last.size > box.size else box.size
    if last.top == box.top and abs(box.left - last.right) < size:
        return False  # The common case, quickly.
    gap = last.horizontal_gap(box)
    return gap > 1.2 * size or not (last.is_on_line_of(box) or gap < size)


def _mirror_right_to_left(segments: list[Segment]) -> list[Segment]:
    """The segments; if their script runs from right to left, mirrored, so that it runs the other
    way."""
    if is_right_to_left(segment.text for segment in segments):
        for segment in segments:
            segment.left, segment.right = -segment.right, -segment.left
    return segments


def is_right_to_left(texts: Iterable[str]) -> bool:
    """Whether most letters of the texts are of scripts that run from right to left."""
    letters = [letter for text in texts for letter in text if letter.isalpha()]
    backwards = sum(unicodedata.bidirectional(letter) in ("R", "AL") for letter in letters)
    return backwards > 0.5 * len(letters)


def merge_segments(row: Sequence[Segment]) -> Segment:
    """The segments of a row as one; its size is that of the segment with most text."""
    if len(row) == 1:
        return row[0]
    text = row[0].text
    for last, segment in pairwise(row):
        gap = last.horizontal_gap(segment)
        is_chinese = is_unspaced(last.text[-1]) and is_unspaced(segment.text[0])
        apart = gap > (0.8 if is_chinese else 0.15) * segment.size
        text += f" {segment.text}" if apart else segment.text
    return Segment(
        text,
        min(segment.left for segment in row),
        min(segment.top for segment in row),
        max(segment.right for segment in row),
        max(segment.bottom for segment in row),
        max(row, key=lambda segment: len(segment.text)).size,
    )
