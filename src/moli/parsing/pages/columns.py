"""Columns of prose side by side, which are read one after the other, unlike those of a table."""

import statistics
from bisect import bisect
from collections.abc import Sequence
from itertools import permutations

from moli.parsing.pages.prose import is_unspaced
from moli.parsing.pages.segments import Segment

MIN_ROWS = 4
_MIN_LETTERS = 28  # of a line in a column of prose; a Chinese character counts as two
_MAX_LINES = 500  # A page with more is a drawing, not worth time quadratic in its pieces.


def reads_as_prose(side: Sequence[Segment]) -> bool:
    """Whether the segments are full lines of text, as in columns and unlike tables."""
    if len(side) < MIN_ROWS:
        return False
    filled = 0
    for index, segment in enumerate(side):
        around = side[max(0, index - 2) : index + 3]  # A picture may narrow part of a column.
        filled += segment.width > 0.8 * max(other.width for other in around)
    wide = statistics.median(map(_letters, side))
    return wide >= _MIN_LETTERS and filled >= 0.6 * len(side)


def divided(segments: Sequence[Segment], gutter: float) -> tuple[list[Segment], list[Segment]]:
    """The segments to the left and those to the right of a gutter."""
    left = [segment for segment in segments if segment.center <= gutter]
    return left, [segment for segment in segments if segment.center > gutter]


def in_columns(segments: Sequence[Segment]) -> list[Segment]:
    """The segments line by line, but columns of prose one after the other.

    A segment that runs across columns, such as a title, stays between those above and below; one
    that stands between them, such as a caption, comes after them.
    """
    lines = _line_by_line(segments)
    gutters = sorted(_gutters(lines))
    crossing = [
        part for part in lines if _column(gutters, part.left) != _column(gutters, part.right)
    ]
    uncrossed = [part for part in lines if part not in crossing]
    ordered: list[Segment] = []
    band: list[Segment] = []
    between: list[Segment] = []
    for segment in lines:
        if segment not in crossing:
            band.append(segment)
        elif any(segment.is_on_line_of(other) for other in uncrossed):
            between.append(segment)
        else:
            ordered += sorted(band, key=lambda part: _column(gutters, part.center))
            ordered += [*between, segment]
            band, between = [], []
    return [*ordered, *sorted(band, key=lambda part: _column(gutters, part.center)), *between]


def _column(gutters: Sequence[float], position: float) -> int:
    """The index of the column at a horizontal position."""
    return bisect(gutters, position)


def _gutters(lines: Sequence[Segment]) -> list[float]:
    """The horizontal positions of the gutters between columns of prose."""
    gutter = _main_gutter(lines)
    if gutter is None:
        return []
    uncrossed = [part for part in lines if not part.left < gutter < part.right]
    return [gutter, *(other for side in divided(uncrossed, gutter) for other in _gutters(side))]


def _main_gutter(lines: Sequence[Segment]) -> float | None:
    """The gutter with the most segments beside it, all of prose, if there is any."""
    if not 2 * MIN_ROWS <= len(lines) <= _MAX_LINES:
        return None
    best, most = None, 0
    long = [part for part in lines if _letters(part) >= _MIN_LETTERS]
    centers = {
        round((left.right + right.left) / 2)
        for left, right in permutations(long, 2)
        if left.right <= right.left and min(left.bottom, right.bottom) > max(left.top, right.top)
    }
    for center in sorted(centers):
        uncrossed = [part for part in lines if not part.left < center < part.right]
        if len(uncrossed) > most and all(map(reads_as_prose, divided(uncrossed, center))):
            best, most = float(center), len(uncrossed)
    return best


def _line_by_line(segments: Sequence[Segment]) -> list[Segment]:
    """The segments from top to bottom, and on one line from left to right."""
    lines: list[list[Segment]] = []
    for segment in sorted(segments, key=lambda part: part.top + part.bottom):
        if lines and lines[-1][0].is_on_line_of(segment):
            lines[-1].append(segment)
        else:
            lines.append([segment])
    return [part for line in lines for part in sorted(line, key=lambda part: part.left)]


def _letters(segment: Segment) -> int:
    """The length of a text, in which a Chinese character counts as two."""
    return sum(2 if is_unspaced(character) else 1 for character in segment.text)
