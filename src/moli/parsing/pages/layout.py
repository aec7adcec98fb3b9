"""From the characters of a page to its blocks in reading order.

The order of the file is trusted, since most programs write a page as it is read, except
where it runs line by line across columns, or comes back to what stands further up.
"""

import heapq
import re
import statistics
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal, NamedTuple, Self

from moli.parsing.pages.prose import is_unspaced, join_lines, words
from moli.parsing.pages.segments import Glyph, Segment, merged, plain, segments, turn_of

_BULLET = re.compile(r"([•●○◦▪■□▫◆◇‣⁃✓✔➢❖\uf0b7\uf0a7\uf0d8\uf076]|[–—*·-](?=\s))\s*(?=\S)")
_NUMBER = re.compile(r"(?:\(?(?:\d{1,2}|[a-zA-Z]|[ivx]{2,4})[.)]|\[\d{1,3}\]|[①-⑳])\s+(?=\S)")
_ENDS = tuple('.!?:;。！？：；…"”’')
_MIN_ROWS = 4
_MAX_ROWS = 1500


@dataclass(slots=True)
class Block:
    """A paragraph, list item or table row."""

    kind: Literal["text", "item", "row"]
    text: str
    size: float = 0.0
    lines: int = 1
    marker: str = ""
    cells: list[str] = field(default_factory=list)


Row = list[Segment]
Key = Callable[[str], str]


def blocks(
    glyphs: Sequence[Glyph],
    titles: frozenset[str] = frozenset(),
    key: Key = str.casefold,
) -> Iterator[Block]:
    """The blocks of a page.

    Args:
        glyphs: its characters in the order of the file.
        titles: headings known to stand on the page, which end a paragraph before and after.
        key: the form in which titles are compared.
    """
    turns = Counter(turn_of(glyph) for glyph in glyphs if glyph.size)
    vocabulary = words(plain(glyphs))
    for turn, _ in turns.most_common():  # Text along the margin comes after the page.
        rows = _rows(segments(glyphs, turn))
        cut: list[Block] = []
        for group in _groups(_columns(_downwards(rows))):
            if len(group) > 1 and all(len(row) > 1 for row in group):
                cut += _table(group)
            else:
                cut += _paragraphs([merged(row) for row in group], vocabulary, titles, key)
        yield from _continued(cut, vocabulary)


def _continued(cut: list[Block], vocabulary: set[str]) -> Iterator[Block]:
    """The blocks, with paragraphs that go on in the next column made whole."""
    last: Block | None = None
    for block in cut:
        if last is not None and _goes_on(last, block):
            last.text = join_lines([last.text, block.text], vocabulary)
            last.lines += block.lines
            continue
        if last is not None:
            yield last
        last = block
    if last is not None:
        yield last


def _goes_on(last: Block, block: Block) -> bool:
    return (
        last.kind in ("text", "item")
        and block.kind == "text"
        and last.lines > 1
        and block.text[0].islower()
        and not last.text.endswith(_ENDS)
        and abs(last.size - block.size) < 0.05 * last.size
    )


def _downwards(rows: list[Row]) -> list[Row]:
    """`rows` in their order, except that none comes before one that stands above it.

    Titles, headers and footers are often written before or after all else. Rows side by side
    do not wait for each other, so columns stay as they were written.
    """
    if len(rows) > _MAX_ROWS:
        return rows  # A map or a drawing, not worth time quadratic in its pieces.
    frames = [_Frame.around(row) for row in rows]
    below: list[list[int]] = [[] for _ in rows]
    for upper, frame in enumerate(frames):
        for lower, other in enumerate(frames):
            if frame.bottom < other.top and frame.shares_column(other):
                below[upper].append(lower)
    waiting = Counter(lower for lowers in below for lower in lowers)
    turns = _turns(below)
    ready = [(turns[index], index) for index in range(len(rows)) if not waiting[index]]
    heapq.heapify(ready)
    ordered: list[Row] = []
    while ready:
        _, index = heapq.heappop(ready)
        ordered.append(rows[index])
        for lower in below[index]:
            waiting[lower] -= 1
            if not waiting[lower]:
                heapq.heappush(ready, (turns[lower], lower))
    return ordered


def _turns(below: list[list[int]]) -> list[float]:
    """Where each row belongs in the order: at its place in the file, unless misplaced there.

    Where a row was written after one that stands below it, the one at odds with more rows has to
    move: a title written after all that it stands over, or a footer before the rest.
    """
    odds = [(upper, lower) for upper, rows in enumerate(below) for lower in rows if lower < upper]
    count = Counter(index for pair in odds for index in pair)
    turns = [float(index) for index in range(len(below))]
    for upper, lower in odds:
        if count[upper] > count[lower]:
            turns[upper] = min(turns[upper], lower - 0.5)
        elif count[lower] > count[upper]:
            turns[lower] = max(turns[lower], upper + 0.5)
    return turns


class _Frame(NamedTuple):
    """The space that a row takes, a little less than its full height."""

    left: float
    top: float
    right: float
    bottom: float

    @classmethod
    def around(cls, row: Row) -> Self:
        slack = 0.15 * min(part.size for part in row)
        return cls(
            row[0].left,
            min(part.top for part in row) + slack,
            row[-1].right,
            max(part.bottom for part in row) - slack,
        )

    def shares_column(self, other: "_Frame") -> bool:
        """Whether both share a column; the caller has compared their heights."""
        overlap = min(self.right, other.right) - max(self.left, other.left)
        return overlap > 0.5 * min(self.right - self.left, other.right - other.left)


def _rows(found: Iterable[Segment]) -> list[Row]:
    rows: list[Row] = []
    for segment in found:
        if not segment.text:
            continue
        last = rows[-1][-1] if rows else None
        if last is not None and last.beside(segment):
            if last.distance(segment) < 0.8 * max(last.size, segment.size):
                rows[-1][-1] = merged([last, segment])  # An index, or another font.
            elif all(segment.distance(other) > 0 for other in rows[-1]):
                rows[-1].append(segment)
                rows[-1].sort(key=lambda segment: segment.left)
            else:
                rows.append([segment])
        else:
            rows.append([segment])
    return rows


def _columns(rows: list[Row]) -> list[Row]:
    """`rows` with columns that were written line by line across put one after the other."""
    result: list[Row] = []
    index = 0
    while index < len(rows):
        end, gutter = _band(rows, index)
        if end - index >= _MIN_ROWS and _is_prose(rows[index:end], gutter):
            sides: tuple[list[Row], list[Row]] = ([], [])
            for row in rows[index:end]:
                for segment in row:
                    sides[segment.middle > gutter].append([segment])
            for side in sides:
                result += side
            index = end
        else:
            result.append(rows[index])
            index += 1
    return result


def _band(rows: list[Row], start: int) -> tuple[int, float]:
    """How far from `start` one gutter parts every row, and where it is."""
    if len(rows[start]) != 2:
        return start, 0.0
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
                return end, (low + high) / 2
        if new_high - new_low < 2:
            return end, (low + high) / 2
        low, high, end = new_low, new_high, end + 1
    return end, (low + high) / 2


def _is_prose(rows: list[Row], gutter: float) -> bool:
    """Whether both sides hold full lines of text, as columns do and tables do not."""
    for right in (False, True):
        side = [segment for row in rows for segment in row if (segment.middle > gutter) is right]
        if len(side) < _MIN_ROWS or not rows:
            return False
        wide = statistics.median(
            sum(2 if is_unspaced(character) else 1 for character in segment.text)
            for segment in side
        )
        full = max(segment.width for segment in side)
        filled = sum(segment.width > 0.8 * full for segment in side)
        if wide < 28 or filled < 0.6 * len(side):
            return False
    return sum(len(row) == 2 for row in rows) >= 0.6 * len(rows)


def _groups(rows: list[Row]) -> Iterator[list[Row]]:
    """Runs of rows that belong together: rows of a table, or lines of a column."""
    group: list[Row] = []
    for row in rows:
        if group and not _continues(group[-1], row):
            yield group
            group = []
        group.append(row)
    if group:
        yield group


def _continues(last: Row, row: Row) -> bool:
    if (len(last) > 1) is not (len(row) > 1):
        return False
    if len(row) > 1:
        gap = row[0].top - last[0].bottom
        return -row[0].size < gap < 2 * row[0].size
    return row[0].bottom > last[0].bottom and row[0].above_or_below(last[0])


def _table(rows: list[Row]) -> Iterator[Block]:
    for row in rows:
        cells = [segment.text for segment in row]
        yield Block("row", " | ".join(cells), row[0].size, cells=cells)


def _paragraphs(
    lines: list[Segment], vocabulary: set[str], titles: frozenset[str], key: Key
) -> Iterator[Block]:
    """The lines of one column cut into paragraphs and items."""
    for run in _runs(lines):
        right = max(line.right for line in run)
        paragraph: list[Segment] = []
        for line in run:
            is_title = key(line.text) in titles
            if paragraph and (is_title or _begins(paragraph, line, right)):
                yield _block(paragraph, vocabulary)
                paragraph = []
            paragraph.append(line)
            if is_title:
                yield _block(paragraph, vocabulary)
                paragraph = []
        if paragraph:
            yield _block(paragraph, vocabulary)


def _runs(lines: list[Segment]) -> Iterator[list[Segment]]:
    """Lines of one size, evenly spaced."""
    run: list[Segment] = []
    for line, following in zip(lines, [*lines[1:], None], strict=True):
        if run and (not _same_size(run[-1], line) or _is_spaced(run, line, following)):
            yield run
            run = []
        run.append(line)
    yield run


def _same_size(one: Segment, other: Segment) -> bool:
    return abs(one.size - other.size) < 0.12 * one.size


def _is_spaced(run: list[Segment], line: Segment, following: Segment | None) -> bool:
    """Whether more space stands above `line` than between the lines around it."""
    step = line.bottom - run[-1].bottom
    around = [step]
    if len(run) > 1:
        around.append(run[-1].bottom - run[-2].bottom)
    if following is not None and _same_size(line, following):
        around.append(following.bottom - line.bottom)
    usual = min(pitch for pitch in around if pitch == step or pitch > 0.5 * line.size)
    return step > 2.5 * line.size or step > 1.25 * usual


def _begins(paragraph: list[Segment], line: Segment, right: float) -> bool:
    """Whether `line` begins a paragraph after the lines in `paragraph`."""
    last, first = paragraph[-1], paragraph[0]
    if _BULLET.match(line.text) or _NUMBER.match(line.text):
        return True
    listed = bool(_BULLET.match(first.text) or _NUMBER.match(first.text))
    centred = abs(line.middle - last.middle) < 0.5 * line.size
    indent = line.left - last.left
    if indent > 0.7 * line.size and not centred and not (listed and len(paragraph) == 1):
        return True
    if indent < -0.7 * line.size and not centred and len(paragraph) > 1:
        return True
    return _ended(last, line, right)


def _ended(last: Segment, line: Segment, right: float) -> bool:
    """Whether `last` was left short although the first word of `line` would have fitted."""
    room = right - last.right
    head = line.text.split(maxsplit=1)[0]
    if is_unspaced(line.text[0]):
        head = line.text[:2]
    needed = line.width * (len(head) + 1) / max(1, len(line.text))
    if room < 1.2 * needed + 0.3 * line.size:
        return False
    return last.text.endswith(_ENDS) or room > 0.35 * (right - last.left)


def _block(lines: list[Segment], vocabulary: set[str]) -> Block:
    text = join_lines([line.text for line in lines], vocabulary)
    size = statistics.median(line.size for line in lines)
    if bullet := _BULLET.match(text):
        return Block("item", text[bullet.end() :], size, len(lines), "- ")
    if _NUMBER.match(text):
        return Block("item", text, size, len(lines))
    return Block("text", text, size, len(lines))
