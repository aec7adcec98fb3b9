"""Grids that lines on a page draw: their rows, columns and merged cells.

All positions are reading coordinates, as in `segments`.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from moli.parsing.pages.segments import Box

# Lines closer than this are one line: the two edges of a thin rectangle, or borders of neighbours.
_TOLERANCE = 3.0
_MAX_CROSSINGS = 250_000

Cell = tuple[int, int]
"""Row and column of a cell, from 0."""


class _Stroke(NamedTuple):
    """A horizontal or vertical line: its position across its direction, and its two ends."""

    position: float
    start: float
    end: float


@dataclass(slots=True)
class Grid:
    """Lines that touch each other, with the boundaries of rows and columns that they draw."""

    horizontal: list[_Stroke]
    vertical: list[_Stroke]
    xs: list[float] = field(init=False)
    ys: list[float] = field(init=False)

    def __post_init__(self) -> None:
        self.xs = _boundaries(self.vertical, self.horizontal)
        self.ys = _boundaries(self.horizontal, self.vertical)

    @property
    def is_table(self) -> bool:
        """Whether there are at least two rows and two columns."""
        return len(self.xs) > 2 and len(self.ys) > 2

    def area(self) -> float:
        """Area of the whole grid."""
        return (self.xs[-1] - self.xs[0]) * (self.ys[-1] - self.ys[0])

    def cell_at(self, x: float, y: float) -> Cell | None:
        """Row and column of the cell around a point; None outside the grid."""
        row, column = bisect_right(self.ys, y) - 1, bisect_right(self.xs, x) - 1
        inside = 0 <= row < len(self.ys) - 1 and 0 <= column < len(self.xs) - 1
        return (row, column) if inside else None

    def merged_cells(self) -> dict[Cell, Cell]:
        """For each cell the upper left cell of those that it is merged with, or itself."""
        merged: dict[Cell, Cell] = {}
        for row, (top, bottom) in enumerate(pairwise(self.ys)):
            for column, (left, right) in enumerate(pairwise(self.xs)):
                cell = (row, column)
                if column and not _is_drawn(self.vertical, left, (top + bottom) / 2):
                    cell = merged[row, column - 1]
                elif row and not _is_drawn(self.horizontal, top, (left + right) / 2):
                    cell = merged[row - 1, column]
                merged[row, column] = cell
        return merged


def find_grids(lines: Iterable[Box]) -> list[Grid]:
    """The lines gathered into groups that touch each other."""
    horizontal: list[_Stroke] = []
    vertical: list[_Stroke] = []
    for left, top, right, bottom in lines:
        if right - left > bottom - top:
            horizontal.append(_Stroke((top + bottom) / 2, left, right))
        else:
            vertical.append(_Stroke((left + right) / 2, top, bottom))
    horizontal, vertical = _merged(horizontal), _merged(vertical)
    if len(horizontal) * len(vertical) > _MAX_CROSSINGS:
        return []  # A drawing.
    root = list(range(len(horizontal) + len(vertical)))

    def find(index: int) -> int:
        """The representative of the group of a line."""
        while root[index] != index:
            root[index] = root[root[index]]
            index = root[index]
        return index

    for i, across in enumerate(horizontal):
        for j, down in enumerate(vertical, len(horizontal)):
            if _covers(across, down.position) and _covers(down, across.position):
                root[find(j)] = find(i)
    groups: dict[int, tuple[list[_Stroke], list[_Stroke]]] = defaultdict(lambda: ([], []))
    for index, stroke in enumerate(horizontal + vertical):
        groups[find(index)][index >= len(horizontal)].append(stroke)
    return [Grid(*group) for group in groups.values() if all(group)]


def _merged(strokes: list[_Stroke]) -> list[_Stroke]:
    """The strokes, with those on one line that touch or overlap made one."""
    merged: list[_Stroke] = []
    for line in _clusters(strokes):
        position = sum(stroke.position for stroke in line) / len(line)
        start, end = line[0].start, line[0].end
        for stroke in sorted(line, key=lambda stroke: stroke.start):
            if stroke.start > end + _TOLERANCE:
                merged.append(_Stroke(position, start, end))
                start, end = stroke.start, stroke.end
            start, end = min(start, stroke.start), max(end, stroke.end)
        merged.append(_Stroke(position, start, end))
    return merged


def _clusters(strokes: list[_Stroke]) -> list[list[_Stroke]]:
    """The strokes by position, those closer than the tolerance together."""
    clusters: list[list[_Stroke]] = []
    for stroke in sorted(strokes):
        if clusters and stroke.position - clusters[-1][0].position <= _TOLERANCE:
            clusters[-1].append(stroke)
        else:
            clusters.append([stroke])
    return clusters


def _covers(stroke: _Stroke, position: float) -> bool:
    """Whether a stroke passes a position along it."""
    return stroke.start - _TOLERANCE <= position <= stroke.end + _TOLERANCE


def _is_drawn(strokes: list[_Stroke], position: float, point: float) -> bool:
    """Whether one of the strokes runs at a position, past a point along it."""
    return any(
        abs(stroke.position - position) <= _TOLERANCE and stroke.start < point < stroke.end
        for stroke in strokes
    )


def _boundaries(strokes: list[_Stroke], across: list[_Stroke]) -> list[float]:
    """Positions of the strokes, and the ends of the lines across them where those reach further."""
    positions = [cluster[0].position for cluster in _clusters(strokes)]
    first, last = min(each.start for each in across), max(each.end for each in across)
    if first < positions[0] - 2 * _TOLERANCE:
        positions.insert(0, first)
    if last > positions[-1] + 2 * _TOLERANCE:
        positions.append(last)
    return positions
