"""Ruled tables: cells between drawn lines, and the text in them.

All positions are reading coordinates, as in `segments`.
"""

import statistics
from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from moli.parsing.pages.prose import join_lines
from moli.parsing.pages.segments import (
    Box,
    Character,
    Segment,
    is_right_to_left,
    merge_segments,
    segments,
)

# Lines closer than this are one line: the two edges of a thin rectangle, or borders of neighbours.
_TOLERANCE = 3.0
# A cell with more text than this is a frame around prose; one that spans others, with less.
_MAX_CELL = 1500
_MIN_FILLED = 0.25
_MAX_SHORT_CELL = 40
_MAX_CROSSINGS = 250_000
_MAX_SPANNING = 400
_MAX_REPEATED = 80


@dataclass(slots=True)
class Table(Segment):
    """A ruled table as one segment of a page; `rows` are the texts of its cells."""

    rows: list[list[str]] = field(default_factory=list)


class _Stroke(NamedTuple):
    """A horizontal or vertical line: its position across its direction, and its two ends."""

    position: float
    start: float
    end: float


@dataclass(slots=True)
class _Grid:
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

    def cell_at(self, x: float, y: float) -> tuple[int, int] | None:
        """Row and column of the cell around a point; None outside the grid."""
        row, column = bisect_right(self.ys, y) - 1, bisect_right(self.xs, x) - 1
        inside = 0 <= row < len(self.ys) - 1 and 0 <= column < len(self.xs) - 1
        return (row, column) if inside else None

    def merged_cells(self) -> dict[tuple[int, int], tuple[int, int]]:
        """For each cell the upper left cell of those that it is merged with, or itself."""
        merged: dict[tuple[int, int], tuple[int, int]] = {}
        for row, (top, bottom) in enumerate(pairwise(self.ys)):
            for column, (left, right) in enumerate(pairwise(self.xs)):
                cell = (row, column)
                if column and not _is_drawn(self.vertical, left, (top + bottom) / 2):
                    cell = merged[row, column - 1]
                elif row and not _is_drawn(self.horizontal, top, (left + right) / 2):
                    cell = merged[row - 1, column]
                merged[row, column] = cell
        return merged


def find_tables(
    characters: Sequence[Character], lines: Iterable[Box], known_words: set[str]
) -> tuple[list[Table], list[Character]]:
    """The ruled tables of a page, and the characters that are in none of them.

    Args:
        characters: characters of the page in file order.
        lines: boxes of the lines on the page.
        known_words: words of the page in lower case, from `whole_words`.
    """
    grids = [grid for grid in _grids(lines) if grid.is_table]
    grids.sort(key=_Grid.area)  # A table inside a cell of another comes first.
    tables = []
    rest = list(characters)
    for grid in grids:
        inside, outside = _characters_by_cell(grid, rest)
        table = _table_of(grid, inside, known_words)
        if table is not None:
            tables.append(table)
            rest = outside
    return tables, rest


def _grids(lines: Iterable[Box]) -> list[_Grid]:
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
    return [_Grid(*group) for group in groups.values() if all(group)]


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


Cells = dict[tuple[int, int], list[Character]]


def _characters_by_cell(
    grid: _Grid, characters: Iterable[Character]
) -> tuple[Cells, list[Character]]:
    """The characters in each cell of a grid, and those outside of it.

    No cell has any if a word reaches over a boundary, which is then none.
    """
    merged = grid.merged_cells()
    cells: Cells = defaultdict(list)
    outside: list[Character] = []
    cell: tuple[int, int] | None = None
    above: Segment | None = None
    for character, box in characters:
        if box is not None:
            place = grid.cell_at(box.center, (box.top + box.bottom) / 2)
            last, cell = cell, merged[place] if place is not None else None
            if cell is None and last is not None:
                outside.append(("\n", None))
            if None not in (cell, last) and cell != last and _is_in_word(above, box):
                return {}, list(characters)
        (outside if cell is None else cells[cell]).append((character, box))
        above = box
    return cells, outside


def _is_in_word(last: Segment | None, box: Segment) -> bool:
    """Whether a letter follows another one in a word."""
    return (
        last is not None
        and last.text.isalpha()
        and box.text.isalpha()
        and abs(last.horizontal_gap(box)) < 0.1 * box.size
        and box.is_on_line_of(last)
    )


def _table_of(grid: _Grid, cells: Cells, known_words: set[str]) -> Table | None:
    """The table in a grid; None if it is no table but a frame, a form or the grid of a chart."""
    if not cells:
        return None
    merged = grid.merged_cells()
    spanning = {cell for place, cell in merged.items() if place != cell}
    lines = {cell: _lines(characters) for cell, characters in cells.items()}
    if any(_is_frame(each, is_spanning=cell in spanning) for cell, each in lines.items()):
        return None
    merged_lines = {
        cell: [merge_segments(line) for line in each] for cell, each in lines.items()
    }
    rows = _rows_by_lines(grid, merged_lines)
    if rows is None:
        rows = _rows_of_cells(grid, merged_lines, known_words)
    rows = _without_blanks(rows)
    filled = sum(bool(cell) for row in rows for cell in row)
    if len(rows) < 2 or len(rows[0]) < 2:  # noqa: PLR2004
        return None
    if filled < _MIN_FILLED * len(rows) * len(rows[0]):
        return None
    size = max(line.size for each in merged_lines.values() for line in each)
    left, right = grid.xs[0], grid.xs[-1]
    if is_right_to_left(cell for row in rows for cell in row):
        left, right = -right, -left
        rows = [row[::-1] for row in rows]
    text = " | ".join(cell for row in rows for cell in row)
    return Table(text, left, grid.ys[0], right, grid.ys[-1], size, rows)


def _rows_of_cells(
    grid: _Grid, lines: dict[tuple[int, int], list[Segment]], known_words: set[str]
) -> list[list[str]]:
    """The texts of the cells; one that spans rows repeats its text in all of them."""
    texts = {
        cell: join_lines([line.text for line in each], known_words) for cell, each in lines.items()
    }
    merged = grid.merged_cells()
    columns = range(len(grid.xs) - 1)
    cells = [[merged[row, column] for column in columns] for row in range(len(grid.ys) - 1)]
    cells = _collapsed(cells, texts)
    cells = _transposed(_collapsed(_transposed(cells), texts))
    rows: list[list[str]] = []
    above: list[tuple[int, int]] = []
    for row in cells:
        rows.append([
            "" if cell in row[:column] or (cell in above and len(texts.get(cell, "")) > _MAX_REPEATED)
            else texts.get(cell, "")
            for column, cell in enumerate(row)
        ])  # fmt: skip
        above = row
    return rows


def _transposed(cells: list[list[tuple[int, int]]]) -> list[list[tuple[int, int]]]:
    """Rows as columns."""
    return [list(column) for column in zip(*cells, strict=True)]


def _collapsed(
    rows: list[list[tuple[int, int]]], texts: dict[tuple[int, int], str]
) -> list[list[tuple[int, int]]]:
    """The rows, those made one that are parted only by lines beside the cells that span them.

    Such lines are the edges of a shade or a check box. No cell with text is lost.
    """
    result = rows[:1]
    for row in rows[1:]:
        pairs = list(zip(result[-1], row, strict=True))
        is_spanned = any(one == other and texts.get(one) for one, other in pairs)
        fits = all(one == other or not (texts.get(one) and texts.get(other)) for one, other in pairs)
        if is_spanned and fits:
            result[-1] = [one if texts.get(one) else other for one, other in pairs]
        else:
            result.append(row)
    return result


def _lines(characters: Iterable[Character]) -> list[list[Segment]]:
    """The segments on each line of text in a cell, from top to bottom."""
    lines: list[list[Segment]] = []
    for segment in sorted(segments(characters), key=lambda segment: segment.top):
        if not segment.text:
            continue
        if lines and lines[-1][0].is_on_line_of(segment):
            lines[-1].append(segment)
        else:
            lines.append([segment])
    return [sorted(line, key=lambda part: part.left) for line in lines]


def _is_frame(lines: list[list[Segment]], *, is_spanning: bool) -> bool:
    """Whether what looks like a cell is a frame around prose, or around columns without lines."""
    length = sum(len(part.text) for line in lines for part in line)
    if length > (_MAX_SPANNING if is_spanning else _MAX_CELL):
        return True
    divided = sum(len(line) > 1 for line in lines)
    return len(lines) > 2 and divided > len(lines) / 2  # noqa: PLR2004


def _rows_by_lines(
    grid: _Grid, lines: dict[tuple[int, int], list[Segment]]
) -> list[list[str]] | None:
    """The rows of a table without lines between them, except below its header.

    None if lines are drawn between its rows, or if its cells do not stand in rows.
    """
    if len(grid.ys) - 1 > 2:  # noqa: PLR2004
        return None
    rows: list[list[str]] = []
    for band in range(len(grid.ys) - 1):
        ordered = sorted(
            ((line.top, column, line) for (row, column), each in lines.items() if row == band
             for line in each), key=lambda item: item[:2],
        )  # fmt: skip
        printed: list[dict[int, Segment]] = []
        for _, column, line in ordered:
            if not printed or not next(iter(printed[-1].values())).is_on_line_of(line):
                printed.append({})
            printed[-1][column] = line
        if not _stand_in_rows(printed):
            printed = [_joined_columns(printed)]
        rows += [
            [row[n].text if n in row else "" for n in range(len(grid.xs) - 1)] for row in printed
        ]
    return rows if len(rows) > len(grid.ys) - 1 else None


def _stand_in_rows(printed: list[dict[int, Segment]]) -> bool:
    """Whether printed lines are rows of short cells, rather than lines of text in a few cells."""
    if len(printed) < 3:  # noqa: PLR2004
        return False
    full = sum(len(row) > 1 for row in printed)
    lengths = [len(line.text) for row in printed for line in row.values()]
    return full >= 0.8 * len(printed) and statistics.median(lengths) <= _MAX_SHORT_CELL


def _joined_columns(printed: list[dict[int, Segment]]) -> dict[int, Segment]:
    """The printed lines of each column as one."""
    columns: dict[int, list[Segment]] = defaultdict(list)
    for row in printed:
        for column, line in row.items():
            columns[column].append(line)
    return {column: merge_segments(each) for column, each in columns.items()}


def _without_blanks(rows: list[list[str]]) -> list[list[str]]:
    """The rows and columns that have text."""
    rows = [row for row in rows if any(row)]
    columns = [column for column in zip(*rows, strict=True) if any(column)]
    return [list(row) for row in zip(*columns, strict=True)]


def place_tables(rows: list[list[Segment]], tables: Iterable[Table]) -> list[list[Segment]]:
    """The rows of a page in file order, with each table after what is above it in its column."""
    rows = list(rows)
    for table in tables:
        above = _last_index(rows, lambda row, at=table: _is_above(row, at))
        below = next((n for n, row in enumerate(rows) if _is_below(row, table)), len(rows))
        rows.insert(above + 1 if above is not None else below, [table])
    return rows


def _last_index(
    rows: list[list[Segment]], condition: Callable[[list[Segment]], bool]
) -> int | None:
    """Index of the last row for which a condition holds; None if there is none."""
    return next((n for n in reversed(range(len(rows))) if condition(rows[n])), None)


def _is_above(row: list[Segment], table: Table) -> bool:
    """Whether a row is above a table, in its column."""
    return row[-1].bottom <= table.top + row[0].size / 2 and _overlaps(row, table)


def _is_below(row: list[Segment], table: Table) -> bool:
    """Whether a row is below a table, in its column."""
    return row[0].top >= table.bottom - row[0].size / 2 and _overlaps(row, table)


def _overlaps(row: list[Segment], table: Table) -> bool:
    """Whether a row and a table share horizontal space."""
    return row[0].left < table.right and row[-1].right > table.left
