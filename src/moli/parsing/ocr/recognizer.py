"""Recognition of a page in any orientation, as lines of text with their places."""

from __future__ import annotations

import functools
import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from moli.parsing.blocks import Blocks
from moli.parsing.limits import Limits
from moli.parsing.pages.layout import Page, page_of_lines
from moli.parsing.pages.segments import Segment

if TYPE_CHECKING:
    from moli.parsing.ocr import models

# Mean confidences from 0 to 1. Below this one the page may be upside down.
_CERTAIN_CONFIDENCE = 0.85
# Below this one a line is a picture taken for text.
_MIN_CONFIDENCE = 0.5
# A page whose grey levels differ by less than this is blank.
_MIN_CONTRAST = 24
_PAGE_HEIGHT = 842.0  # points of A4
_UPRIGHT_RATIO = 1.5  # height of a line beside its width, above which its text may be turned
_TURNED_RATIO = 4.0  # and above which it certainly is
_LONG_RATIO = 3.0  # width of a line beside its height, above which its angle is certain
_LONG_SHARE = 0.2  # of the lines on a page, below which the places of the others count too
_LEAN = 0.08  # highest slope of a row whose cells are compared
_EDGE = 0.1  # space between the box and the letters, beside the height


class _Line(NamedTuple):
    """A recognized line.

    Attributes:
        turns: quarter turns to the left that brought its text upright.
    """

    box: models.LineBox
    text: str
    confidence: float
    turns: int


@dataclass(slots=True)
class _Reading:
    """The lines of a page read one way up.

    Attributes:
        height: pixels from the top of the page to its bottom.
    """

    lines: list[_Line]
    height: int

    @property
    def confidence(self) -> float:
        """Mean confidence, weighted by the lengths of the lines."""
        lengths = [max(line.box.width, line.box.height) for line in self.lines]
        confidences = [line.confidence for line in self.lines]
        return statistics.fmean(confidences, lengths) if lengths else 0.0


@functools.cache
def _models() -> tuple[models.TextDetector, models.LineReader]:
    """The models, loaded when the first page of this process needs them."""
    from moli.parsing.ocr.models import LineReader, TextDetector

    return TextDetector(), LineReader()


class PageRecognizer:
    """Recognizes pages.

    Args:
        blocks: is told before each reading of a page, and warned of what was not read.
        limits: `page_seconds` is the time for one reading.
    """

    def __init__(self, blocks: Blocks, limits: Limits) -> None:
        self._blocks, self._limits = blocks, limits

    def recognize(self, image: Image.Image) -> Page:
        """The text of an image, whichever way up it is; its rows are in points of an A4 page."""
        if _is_blank(image):
            return Page([], set())
        pixels = np.asarray(image.convert("L"))
        reading = self._read(pixels)
        if reading.lines and reading.confidence < _CERTAIN_CONFIDENCE:
            turned = self._read(np.rot90(pixels, 2))
            reading = max(reading, turned, key=lambda reading: reading.confidence)
        return _page_of(reading)

    def _read(self, pixels: models.Image) -> _Reading:
        """The lines of a page whose text runs from left to right, or from top to bottom."""
        self._blocks.on_ocr()
        detector, reader = _models()
        boxes = detector.find_lines(pixels)
        if _runs_downwards(boxes):
            pixels = np.rot90(pixels)
            boxes = detector.find_lines(pixels)
        variants = [(box, turns) for box in boxes for turns in _possible_turns(box)]
        images = (np.rot90(box.cut_out(pixels), turns) for box, turns in variants)
        seconds = self._limits.page_seconds
        texts = reader.read(images, seconds)
        if len(texts) < len(variants):
            self._blocks.warn(f"a page was not recognised completely within {seconds:g} s")
        best: dict[models.LineBox, _Line] = {}
        for (box, turns), (text, confidence) in zip(variants, texts, strict=False):
            if box not in best or confidence > best[box].confidence:
                best[box] = _Line(box, text, confidence, turns)
        return _Reading(list(best.values()), pixels.shape[0])


def _is_blank(image: Image.Image) -> bool:
    """Whether all pixels have nearly the same grey level."""
    levels = [level for level, count in enumerate(image.convert("L").histogram()) if count]
    return levels[-1] - levels[0] < _MIN_CONTRAST


def _runs_downwards(boxes: Sequence[models.LineBox]) -> bool:
    """Whether most of the text on a page runs downwards or upwards."""
    down = sum(box.height for box in boxes if box.height > _UPRIGHT_RATIO * box.width)
    return down > sum(box.width for box in boxes if box.height <= _UPRIGHT_RATIO * box.width)


def _possible_turns(box: models.LineBox) -> Iterable[int]:
    """Numbers of quarter turns to the left that may bring the text in a box upright."""
    if box.height <= _UPRIGHT_RATIO * box.width:
        return (0,)
    return (1, 3) if box.height > _TURNED_RATIO * box.width else (0, 1, 3)


def _page_of(reading: _Reading) -> Page:
    """The lines as rows of a page, without pictures taken for text."""
    lines = [line for line in reading.lines if line.text and line.confidence >= _MIN_CONFIDENCE]
    slope = math.radians(_slope_of([line.box for line in lines if not line.turns]))
    scale = _PAGE_HEIGHT / max(1, reading.height)
    upright = [_segment_of(line, slope, scale) for line in lines if not line.turns]
    turned = [_segment_of(line, slope, scale) for line in lines if line.turns]
    return page_of_lines(upright, turned)


def _slope_of(boxes: Sequence[models.LineBox]) -> float:
    """The clockwise angle of the lines on a page, in degrees.

    The angle of a short box is uncertain, so on a page of short ones, such as a table, the angles
    from each to the next on its right count.
    """
    slopes = [box.angle for box in boxes if box.width > _LONG_RATIO * box.height]
    if len(slopes) < _LONG_SHARE * len(boxes):
        slopes += [
            math.degrees(math.atan2(nearest.y - box.y, nearest.x - box.x))
            for box in boxes
            if (nearest := _right_of(box, boxes)) is not None
        ]
    return statistics.median(slopes) if slopes else 0.0


def _right_of(box: models.LineBox, boxes: Sequence[models.LineBox]) -> models.LineBox | None:
    """The nearest box to the right in the same row, on a page that leans by a few degrees."""
    row = [
        other
        for other in boxes
        if other.x - box.x > (box.width + other.width) / 2
        and abs(other.y - box.y) < box.height / 2 + _LEAN * (other.x - box.x - box.width)
    ]
    return min(row, key=lambda other: other.x, default=None)


def _segment_of(line: _Line, slope: float, scale: float) -> Segment:
    """A line as a segment in reading coordinates.

    Args:
        slope: clockwise angle of the lines on the page, which is taken off, in radians.
        scale: points for each pixel.
    """
    box = line.box
    x = box.x * math.cos(slope) + box.y * math.sin(slope)
    y = box.y * math.cos(slope) - box.x * math.sin(slope)
    width, height = box.width, box.height
    if line.turns:
        x, y = (y, -x) if line.turns == 1 else (-y, x)
        width, height = height, width
    half = width / 2 - _EDGE * height
    size = height * scale
    return Segment(
        line.text,
        (x - half) * scale,
        y * scale - size / 2,
        (x + half) * scale,
        y * scale + size / 2,
        size,
    )
