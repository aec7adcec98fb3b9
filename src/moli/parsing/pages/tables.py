"""Ruled tables: the text in the cells between drawn lines."""

import statistics
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from moli.parsing.pages.grid import Cell, Grid, find_grids
from moli.parsing.pages.order import Row
from moli.parsing.pages.prose import join_lines
from moli.parsing.pages.segments import (
    Box,
    Character,
    Segment,
    is_right_to_left,
    merge_segments,
    segments,
)

# A cell with more text than this is a frame around prose; one that spans others, with less.
_MAX_CELL = 1500
_MAX_SPANNING = 400
_MAX_REPEATED = 80
_MAX_SHORT_CELL = 40
_MIN_FILLED = 0.25


@dataclass(slots=True)
class Table(Segment):
    """A ruled table as one segment of a page; `rows` are the texts of its cells."""

    rows: list[list[str]] = field(default_factory=list)


def find_tables(
    characters: Sequence[Character], lines: Iterable[Box], known_words: set[str]
) -> tuple[list[Table], list[Character]]:
    """The ruled tables of a page, and the characters that are in none of them.

    Args:
        characters: characters of the page in file order.
        lines: boxes of the lines on the page.
        known_words: words of the page in lower case, from `whole_words`.
    """
    grids = [grid for grid in find_grids(lines) if grid.is_table]
    grids.sort(key=Grid.area)  # A table inside a cell of another comes first.
    tables = []
    rest = list(characters)
    for grid in grids:
        inside, outside = _characters_by_cell(grid, rest)
        table = _table_of(grid, inside, known_words)
        if table is not None:
            tables.append(table)
            rest = outside
    return tables, rest


Cells = dict[Cell, list[Character]]


def _characters_by_cell(
    grid: Grid, characters: Iterable[Character]
) -> tuple[Cells, list[Character]]:
    """The characters in each cell of a grid, and those outside of it.

    No cell has any if a word reaches over a boundary, which is then none.
    """
    merged = grid.merged_cells()
    cells: Cells = defaultdict(list)
    outside: list[Character] = []
    cell: Cell | None = None
    above: Segment | None = None
    for character, box in characters:
        if box is not None:
            place = grid.cell_at(box.center, (box.top + box.bottom) / 2)
            last, cell = cell, merged[place] if place is not None else None
            if cell != last:
                if None not in (cell, last) and _is_in_word(above, box):
                    return {}, list(characters)
                (outside if cell is None else cells[cell]).append(("\n", None))
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


def _table_of(grid: Grid, cells: Cells, known_words: set[str]) -> Table | None:
    """The table in a grid; None if it is no table but a frame, a form or the grid of a chart."""
    if not cells:
        return None
    merged = grid.merged_cells()
    spanning = {cell for place, cell in merged.items() if place != cell}
    lines = {cell: _lines(characters) for cell, characters in cells.items()}
    if any(_is_frame(each, is_spanning=cell in spanning) for cell, each in lines.items()):
        return None
    merged_lines = {cell: [merge_segments(line) for line in each] for cell, each in lines.items()}
    rows = _rows_by_lines(grid, merged_lines)
    if rows is None:
        rows = _rows_of_cells(grid, merged_lines, known_words)
    rows = _without_blanks(rows)
    filled = sum(bool(cell) for row in rows for cell in row)
    if len(rows) < 2 or len(rows[0]) < 2:
        return None
    if filled < _MIN_FILLED * len(rows) * len(rows[0]):
        return None
    size = max(line.size for each in merged_lines.values() for line in each)
    left, right = grid.xs[0], grid.xs[-1]
    if is_right_to_left(cell for row in rows for cell in row):
        left, right = -right, -left
        rows = [row[::-1] for row in rows]
    text = "\n".join(" | ".join(row) for row in rows)
    return Table(text, left, grid.ys[0], right, grid.ys[-1], size, rows)


def _rows_of_cells(
    grid: Grid, lines: dict[Cell, list[Segment]], known_words: set[str]
) -> list[list[str]]:
    """The texts of the cells; one that spans rows repeats its text in all of them."""
    texts = {
        cell: join_lines([line.text for line in inside], known_words)
        for cell, inside in lines.items()
    }
    merged = grid.merged_cells()
    columns = range(len(grid.xs) - 1)
    cells = [[merged[row, column] for column in columns] for row in range(len(grid.ys) - 1)]
    cells = _collapsed(cells, texts)
    cells = _transposed(_collapsed(_transposed(cells), texts))
    rows: list[list[str]] = []
    above: list[Cell] = []
    for row in cells:
        hidden = {cell for cell in above if len(texts.get(cell, "")) > _MAX_REPEATED}
        rows.append([
            "" if cell in hidden or cell in row[:column] else texts.get(cell, "")
            for column, cell in enumerate(row)
        ])  # fmt: skip
        above = row
    return rows


def _transposed(cells: list[list[Cell]]) -> list[list[Cell]]:
    """Rows as columns."""
    return [list(column) for column in zip(*cells, strict=True)]


def _collapsed(rows: list[list[Cell]], texts: dict[Cell, str]) -> list[list[Cell]]:
    """The rows, those made one that are parted only by lines beside the cells that span them.

    Such lines are the edges of a shade or a check box. No cell with text is lost.
    """
    result = rows[:1]
    for row in rows[1:]:
        pairs = list(zip(result[-1], row, strict=True))
        is_spanned = any(one == other and texts.get(one) for one, other in pairs)
        fits = all(
            one == other or not (texts.get(one) and texts.get(other)) for one, other in pairs
        )
        if is_spanned and fits:
            result[-1] = [one if texts.get(one) else other for one, other in pairs]
        else:
            result.append(row)
    return result


def _lines(characters: Iterable[Character]) -> list[Row]:
    """The segments on each line of text in a cell, from top to bottom."""
    lines: list[Row] = []
    for segment in sorted(segments(characters), key=lambda segment: segment.top):
        if not segment.text:
            continue
        if lines and lines[-1][0].is_on_line_of(segment):
            lines[-1].append(segment)
        else:
            lines.append([segment])
    return [sorted(line, key=lambda part: part.left) for line in lines]


def _is_frame(lines: list[Row], *, is_spanning: bool) -> bool:
    """Whether what looks like a cell is a frame around prose, or around columns without lines."""
    length = sum(len(part.text) for line in lines for part in line)
    if length > (_MAX_SPANNING if is_spanning else _MAX_CELL):
        return True
    divided = sum(len(line) > 1 for line in lines)
    return len(lines) > 2 and divided > len(lines) / 2


def _rows_by_lines(grid: Grid, lines: dict[Cell, list[Segment]]) -> list[list[str]] | None:
    """The rows of a table without lines between them, except below its header.

    None if lines are drawn between its rows, or if its cells do not stand in rows.
    """
    if len(grid.ys) - 1 > 2:
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
    """Whether printed lines are rows of short cells, rather than lines of text in a few cells.

    Two lines are, if they stand further apart than the lines of a text.
    """
    lines = [next(iter(row.values())) for row in printed]
    if len(lines) < 2 or (len(lines) == 2 and lines[1].top - lines[0].top < 1.4 * lines[0].size):
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


def place_tables(rows: list[Row], tables: Iterable[Table]) -> list[Row]:
    """The rows of a page in file order, with each table after what is above it.

    Rows that share horizontal space with the table count, or all if none does.
    """
    rows = list(rows)
    for table in tables:
        middle = (table.top + table.bottom) / 2
        near = [index for index, row in enumerate(rows) if _overlaps(row, table)]
        near = near or list(range(len(rows)))
        above = [index for index in near if rows[index][0].bottom < middle]
        below = [index for index in near if rows[index][0].bottom >= middle]
        rows.insert(above[-1] + 1 if above else below[0] if below else 0, [table])
    return rows


def _overlaps(row: Row, table: Table) -> bool:
    """Whether a row and a table share horizontal space."""
    return row[0].left < table.right and row[-1].right > table.left
