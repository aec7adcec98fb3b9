"""The reading order of the rows of a page."""

import heapq
from collections import Counter
from typing import NamedTuple, Self

from moli.parsing.pages.segments import Segment

Row = list[Segment]  # Segments on one line, from left to right.
_MAX_ROWS = 1500


def in_reading_order(rows: list[Row]) -> list[Row]:
    """`rows` in file order, except that no row comes before one above it in its column.

    Titles, headers and footers are often written before or after everything else. Rows side by
    side are not reordered, so columns stay as they were written.
    """
    if len(rows) > _MAX_ROWS:
        return rows  # A map or a drawing, not worth time quadratic in its pieces.
    boxes = [_RowBox.of_row(row) for row in rows]
    below: list[list[int]] = [[] for _ in rows]
    for upper, box in enumerate(boxes):
        for lower, other in enumerate(boxes):
            if box.bottom < other.top and box.shares_column_with(other):
                below[upper].append(lower)
    waiting = Counter(lower for lowers in below for lower in lowers)
    keys = _sort_keys(below)
    ready = [(keys[index], index) for index in range(len(rows)) if not waiting[index]]
    heapq.heapify(ready)
    ordered: list[Row] = []
    while ready:
        _, index = heapq.heappop(ready)
        ordered.append(rows[index])
        for lower in below[index]:
            waiting[lower] -= 1
            if not waiting[lower]:
                heapq.heappush(ready, (keys[lower], lower))
    return ordered


def _sort_keys(below: list[list[int]]) -> list[float]:
    """Sort keys of rows: a row's index in the file, or a lower or higher one if it has to move.

    Two rows conflict if the upper one was written after the lower one; the one with more conflicts
    moves: a title written after everything under it, or a footer written before the rest.

    Args:
        below: for every row, the indices of the rows that are printed below it in its column.
    """
    conflicts = [
        (upper, lower) for upper, rows in enumerate(below) for lower in rows if lower < upper
    ]
    count = Counter(index for pair in conflicts for index in pair)
    keys = [float(index) for index in range(len(below))]
    for upper, lower in conflicts:
        if count[upper] > count[lower]:
            keys[upper] = min(keys[upper], lower - 0.5)
        elif count[lower] > count[upper]:
            keys[lower] = max(keys[lower], upper + 0.5)
    return keys


class _RowBox(NamedTuple):
    """Bounding box of a row, reduced in height so that boxes of close rows do not overlap."""

    left: float
    top: float
    right: float
    bottom: float

    @classmethod
    def of_row(cls, row: Row) -> Self:
        """The box of `row`."""
        slack = 0.15 * min(part.size for part in row)
        return cls(
            row[0].left,
            min(part.top for part in row) + slack,
            row[-1].right,
            max(part.bottom for part in row) - slack,
        )

    def shares_column_with(self, other: "_RowBox") -> bool:
        """Whether both are in one column: they overlap horizontally by half of the narrower one."""
        overlap = min(self.right, other.right) - max(self.left, other.left)
        return overlap > 0.5 * min(self.right - self.left, other.right - other.left)
