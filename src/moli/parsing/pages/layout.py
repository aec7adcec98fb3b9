"""Layout analysis: the blocks of a page in reading order, from its glyphs.

The order of the file is kept, since most programs write a page in reading order, except where
it runs line by line across columns, or goes back to something higher up on the page.
"""

import re
import statistics
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

from moli.parsing.pages.columns import MIN_ROWS, divided, in_columns, reads_as_prose
from moli.parsing.pages.order import Row, in_reading_order
from moli.parsing.pages.prose import is_unspaced, join_lines, whole_words
from moli.parsing.pages.segments import (
    Glyph,
    Line,
    Segment,
    lines_of_text,
    merge_segments,
    reading_box,
    rotation_of,
    segments,
    upright_characters,
)
from moli.parsing.pages.tables import Table, find_tables, place_tables

_BULLET = re.compile(r"([•●○◦▪■□▫◆◇‣⁃✓✔➢❖\uf0b7\uf0a7\uf0d8\uf076]|[–—*·-](?=\s))\s*(?=\S)")
_NUMBER = re.compile(r"(?:\(?(?:\d{1,2}|[a-zA-Z]|[ivx]{2,4})[.)]|\[\d{1,3}\]|[①-⑳☐☑☒])\s+(?=\S)")
SENTENCE_ENDS = tuple('.!?:;。！？：；…"”’')


@dataclass(slots=True)
class Block:
    """A paragraph, list item or table row.

    Attributes:
        kind: a paragraph is `text`.
        text: the whole text; the cells of a row are separated by bars.
        size: font size in points.
        lines: number of printed lines.
        marker: the bullet that was taken off an item; numbers stay in the text.
        cells: texts of a row's cells.
        room: free space at the end of the last line, in points.
        page_starts: offsets in the text at which pages begin that the block runs on to.
    """

    kind: Literal["text", "item", "row"]
    text: str
    size: float = 0.0
    lines: int = 1
    marker: str = ""
    cells: list[str] = field(default_factory=list)
    room: float = 0.0
    page_starts: list[int] = field(default_factory=list)


TitleKey = Callable[[str], str]


@dataclass(slots=True)
class Page:
    """The text of a page as it is printed.

    Attributes:
        parts: rows in reading order: those of upright text, then of text along the margin.
        known_words: the words on the page in lower case.
        is_recognized: whether it was recognized from an image.
        comments: what readers attached to it.
    """

    parts: list[list[Row]]
    known_words: set[str]
    is_recognized: bool = False
    comments: list[str] = field(default_factory=list)

    def segments(self) -> Iterator[Segment]:
        """All segments on the page."""
        return (part for rows in self.parts for row in rows for part in row)

    @property
    def letters(self) -> int:
        """Number of characters on the page."""
        return sum(len(part.text) for part in self.segments())


def read_page(glyphs: Sequence[Glyph], lines: Iterable[Line]) -> Page:
    """The rows of a page, with its ruled tables.

    Args:
        glyphs: characters of the page in the order of the file.
        lines: horizontal and vertical lines on the page.
    """
    rotations = Counter(rotation_of(glyph) for glyph in glyphs if glyph.size)
    page = Page([], whole_words(lines_of_text(glyphs)))
    boxes = list(lines)
    for rotation, _ in rotations.most_common():
        characters = list(upright_characters(glyphs, rotation))
        tables: list[Table] = []
        if not page.parts:
            ruled = [reading_box(*box, rotation) for box in boxes]
            tables, characters = find_tables(characters, ruled, page.known_words)
        rows = place_tables(_rows(segments(characters)), tables)
        page.parts.append(in_reading_order(rows))
    return page


def page_of_lines(lines: Sequence[Segment], turned: Sequence[Segment] = ()) -> Page:
    """The rows of a page from recognized lines, which have no order of their own.

    Args:
        lines: upright ones.
        turned: lines along the margin.
    """
    parts = [_rows(in_columns(segments)) for segments in (lines, turned)]
    known_words = whole_words(part.text for rows in parts for row in rows for part in row)
    return Page([in_reading_order(rows) for rows in parts if rows], known_words, is_recognized=True)


def page_blocks(
    page: Page, titles: frozenset[str] = frozenset(), key: TitleKey = str.casefold
) -> Iterator[Block]:
    """The blocks of a page in reading order.

    Args:
        titles: keys of headings known to be on the page; each is a paragraph by itself.
        key: maps a line to the form in which titles are compared.
    """
    for rows in page.parts:
        blocks: list[Block] = []
        for group in _group_rows(_separate_columns(rows)):
            table = group[0][0]
            if isinstance(table, Table):
                blocks += [Block("row", " | ".join(row), table.size, cells=row)
                           for row in table.rows]  # fmt: skip
            elif len(group) > 1 and all(len(row) > 1 for row in group):
                blocks += _table_rows(group)
            else:
                lines = [merge_segments(row) for row in group]
                blocks += _paragraphs(lines, page.known_words, titles, key)
        yield from _join_across_columns(blocks, page.known_words)


def _join_across_columns(blocks: list[Block], known_words: set[str]) -> Iterator[Block]:
    """The blocks, where a paragraph that continues in the next column is one block."""
    last: Block | None = None
    for block in blocks:
        if last is not None and _continues_paragraph(last, block):
            last.text = join_lines([last.text, block.text], known_words)
            last.lines += block.lines
            last.room = block.room
            continue
        if last is not None:
            yield last
        last = block
    if last is not None:
        yield last


def _continues_paragraph(last: Block, block: Block) -> bool:
    """Whether `block` is the rest of the paragraph in `last`.

    It has the same font size and begins in lower case, and `last` does not end a sentence.
    """
    return (
        last.kind in ("text", "item")
        and block.kind == "text"
        and last.lines > 1
        and block.text[0].islower()
        and not last.text.endswith(SENTENCE_ENDS)
        and abs(last.size - block.size) < 0.05 * last.size
    )


def _rows(line_segments: Iterable[Segment]) -> list[Row]:
    """The segments gathered into rows; segments that nearly touch are merged."""
    rows: list[Row] = []
    for segment in line_segments:
        if not segment.text:
            continue
        last = rows[-1][-1] if rows else None
        if last is not None and last.is_on_line_of(segment):
            if last.horizontal_gap(segment) < 0.8 * max(last.size, segment.size):
                rows[-1][-1] = merge_segments([last, segment])  # An index, or another font.
            elif all(segment.horizontal_gap(other) > 0 for other in rows[-1]):
                rows[-1].append(segment)
                rows[-1].sort(key=lambda segment: segment.left)
            else:
                rows.append([segment])
        else:
            rows.append([segment])
    return rows


def _separate_columns(rows: list[Row]) -> list[Row]:
    """Split rows that run across two columns of prose, and put one column after the other."""
    result: list[Row] = []
    index = 0
    while index < len(rows):
        gutter = _find_gutter(rows, index)
        end, center = gutter.end, gutter.center
        if end - index >= MIN_ROWS and _is_prose(rows[index:end], center):
            segments = [segment for row in rows[index:end] for segment in row]
            for side in divided(segments, center):
                result += [[segment] for segment in side]
            index = end
        else:
            result.append(rows[index])
            index += 1
    return result


@dataclass(frozen=True, slots=True)
class _Gutter:
    """The empty space between two columns.

    Attributes:
        end: index after the last row that the gutter divides.
        center: horizontal center of the gutter.
    """

    end: int
    center: float


def _find_gutter(rows: list[Row], start: int) -> _Gutter:
    """The gutter that divides the most rows from `start` on; its `end` is `start` if none is."""
    if len(rows[start]) != 2:
        return _Gutter(start, 0.0)
    low, high = rows[start][0].right, rows[start][1].left
    end = start
    for row in rows[start:]:
        new_low, new_high = low, high
        for segment in row:
            if segment.right <= (low + high) / 2 + 1:
                new_low = max(new_low, segment.right)
            elif segment.left >= (low + high) / 2 - 1:
                new_high = min(new_high, segment.left)
            else:
                return _Gutter(end, (low + high) / 2)
        if new_high - new_low < 2:
            return _Gutter(end, (low + high) / 2)
        low, high, end = new_low, new_high, end + 1
    return _Gutter(end, (low + high) / 2)


def _is_prose(rows: list[Row], gutter: float) -> bool:
    """Whether both sides of a gutter are full lines of text, as in columns and unlike tables."""
    segments = [segment for row in rows for segment in row]
    if not all(reads_as_prose(side) for side in divided(segments, gutter)):
        return False
    return sum(len(row) == 2 for row in rows) >= 0.6 * len(rows)


def _group_rows(rows: list[Row]) -> Iterator[list[Row]]:
    """Runs of rows that belong together: the rows of a table, or the lines of a column."""
    group: list[Row] = []
    for row in rows:
        if group and not _belongs_to_group(group[-1], row):
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def _belongs_to_group(last: Row, row: Row) -> bool:
    """Whether `row` continues the table or column that `last` is in."""
    if isinstance(last[0], Table) or isinstance(row[0], Table):
        return False
    if (len(last) > 1) is not (len(row) > 1):
        return False
    if len(row) > 1:
        gap = row[0].top - last[0].bottom
        return -row[0].size < gap < 2 * row[0].size
    return row[0].bottom > last[0].bottom and row[0].shares_column_with(last[0])


def _table_rows(rows: list[Row]) -> Iterator[Block]:
    """A block for every row of a table; a blank cell keeps its column."""
    columns = _columns(rows)
    for row in rows:
        cells = [segment.text for segment in row]
        if len(columns) >= max(map(len, rows)):
            placed = {bisect_right(columns, segment.left + 0.1): segment.text for segment in row}
            if len(placed) == len(row):
                cells = [placed.get(number, "") for number in range(1, max(placed) + 1)]
        yield Block("row", " | ".join(cells), row[0].size, cells=cells)


def _columns(rows: list[Row]) -> list[float]:
    """Left edges of the columns: the stretches that segments of all rows cover."""
    edges: list[float] = []
    end = float("-inf")
    for segment in sorted((segment for row in rows for segment in row), key=lambda part: part.left):
        if segment.left >= end:
            edges.append(segment.left)
        end = max(end, segment.right)
    return edges


def _paragraphs(
    lines: list[Segment], known_words: set[str], titles: frozenset[str], key: TitleKey
) -> Iterator[Block]:
    """The lines of one column split into paragraphs and list items; a title is a paragraph."""
    edge = max(line.right for line in lines)
    for run in _evenly_spaced_runs(lines):
        right = max(line.right for line in run)
        paragraph: list[Segment] = []
        for line in run:
            is_title = key(line.text) in titles
            if paragraph and (is_title or _begins_paragraph(paragraph, line, right)):
                yield _block_of(paragraph, known_words, edge)
                paragraph = []
            paragraph.append(line)
            if is_title:
                yield _block_of(paragraph, known_words, edge)
                paragraph = []
        if paragraph:
            yield _block_of(paragraph, known_words, edge)


def _evenly_spaced_runs(lines: list[Segment]) -> Iterator[list[Segment]]:
    """The lines split into runs of one font size and even spacing."""
    run: list[Segment] = []
    for line, following in zip(lines, [*lines[1:], None], strict=True):
        if run and (
            not _has_same_size(run[-1], line) or _has_extra_space_above(run, line, following)
        ):
            yield run
            run = []
        run.append(line)
    yield run


def _has_same_size(one: Segment, other: Segment) -> bool:
    """Whether both have nearly the same font size."""
    return abs(one.size - other.size) < 0.12 * one.size


def _has_extra_space_above(run: list[Segment], line: Segment, following: Segment | None) -> bool:
    """Whether the space above `line` is larger than that between the lines around it."""
    step = line.bottom - run[-1].bottom
    pitches = [step]
    if len(run) > 1:
        pitches.append(run[-1].bottom - run[-2].bottom)
    if following is not None and _has_same_size(line, following):
        pitches.append(following.bottom - line.bottom)
    usual = min(pitch for pitch in pitches if pitch == step or pitch > 0.5 * line.size)
    return step > 2.5 * line.size or step > 1.25 * usual


def _begins_paragraph(paragraph: list[Segment], line: Segment, right: float) -> bool:
    """Whether `line` begins a new paragraph after the lines in `paragraph`.

    Args:
        right: right edge of the column.
    """
    last, first = paragraph[-1], paragraph[0]
    if _BULLET.match(line.text) or _NUMBER.match(line.text):
        return True
    is_item = bool(_BULLET.match(first.text) or _NUMBER.match(first.text))
    is_centered = abs(line.center - last.center) < 0.5 * line.size
    indent = line.left - last.left
    if indent > 0.7 * line.size and not is_centered and not (is_item and len(paragraph) == 1):
        return True
    if indent < -0.7 * line.size and not is_centered and len(paragraph) > 1:
        return True
    return _ends_paragraph(last, line, right)


def _ends_paragraph(last: Segment, line: Segment, right: float) -> bool:
    """Whether `last` ends its paragraph: the first word of `line` would have fitted on it."""
    room = right - last.right
    head = line.text.split(maxsplit=1)[0]
    if is_unspaced(line.text[0]):
        head = line.text[:2]
    needed = line.width * (len(head) + 1) / max(1, len(line.text))
    if room < 1.2 * needed + 0.3 * line.size:
        return False
    return last.text.endswith(SENTENCE_ENDS) or room > 0.35 * (right - last.left)


def _block_of(lines: list[Segment], known_words: set[str], edge: float) -> Block:
    """The paragraph or list item made of `lines`, with words divided at line ends joined.

    Args:
        edge: right edge of the column.
    """
    text = join_lines([line.text for line in lines], known_words)
    size = statistics.median(line.size for line in lines)
    room = edge - lines[-1].right
    if bullet := _BULLET.match(text):
        return Block("item", text[bullet.end() :], size, len(lines), "- ", room=room)
    return Block("item" if _NUMBER.match(text) else "text", text, size, len(lines), room=room)
