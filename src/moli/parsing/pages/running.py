"""Running heads and feet: lines that stand at the same place on page after page, and page numbers.

heads = take_running_lines(pages)   # Removes them from the pages.
heads[0]                            # Those that are kept once, on the first page.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from moli.parsing.pages.order import Row
from moli.parsing.pages.segments import Segment

_DEPTH = 3  # Rows at each edge of a page that may be running.
_MAX_TEXT = 200
_MAX_SIZE = 1.15  # Size of a running line beside the text; a larger one is a title.
_MAX_SHIFT = 8.0  # Points by which a running line may move between pages.
_MAX_IRREGULARITY = 0.5  # Points between the distances of rows in one table.
_DIGITS = re.compile(r"\d+")
_NUMBERED = re.compile(
    r"\b(?:pages?|pg\.?|p\.|seite|página|pagina|стр\.)\s*\d+(?:\s*(?:of|/|von|de|sur|из)\s*\d+)?"
    r"|第\s*\d+\s*[页頁](?:[\s,，/]*共\s*\d+\s*[页頁])?"
    r"|^\d+\s*[|·•–—-]\s|\s[|·•–—-]\s*\d+$"
)
_ROMAN = re.compile(r"[ivxlc]{1,7}")
_LETTERS = re.compile(r"[^\W\d_]+")
# Words of a line that holds nothing but the page number, as in `Page 3 of 12` and `第3页`.
_PAGE_WORDS = frozenset(
    [
        "page",
        "pages",
        "p",
        "pg",
        "of",
        "von",
        "de",
        "sur",
        "di",
        "da",
        "seite",
        "blatt",
        "pagina",
        "página",
        "第",
        "页",
        "頁",
        "共",
        "页共",
        "頁共",
        "页第",
        "頁第",
        "ページ",
        "쪽",
        "페이지",
        "стр",
        "из",
    ]
)


@dataclass(frozen=True, slots=True)
class _Spot:
    """A segment near the upper or lower edge of a page.

    Attributes:
        page: index of the page.
        depth: number of rows between it and the edge.
        offset: vertical position.
        numbers: the numbers in its text.
        stands_apart: whether a gap separates it from the row towards the middle of the page.
    """

    page: int
    depth: int
    segment: Segment
    offset: float
    numbers: tuple[int, ...]
    stands_apart: bool


def take_running_lines(pages: Sequence[list[Row]]) -> list[list[str]]:
    """Remove running lines from the rows of all pages.

    Returns:
        For each page the texts of the running lines that first occur on it, without page
        numbers, and without those that the document also has as text of its own.
    """
    running: dict[int, set[int]] = defaultdict(set)  # Ids of segments by page.
    first: list[list[str]] = [[] for _ in pages]
    seen: set[str] = set()
    minimum = 2 if len(pages) <= _DEPTH else 3
    limit = _MAX_SIZE * _usual_size(pages)
    edges = [list(_runs(pages, is_top=is_top)) for is_top in (True, False)]
    numbers = _page_numbers([*edges[0], *edges[1]])
    for edge in edges:
        runs = [
            run for run in _without_figures(pages, edge, numbers)
            if len(run) >= minimum and run[0].segment.size <= limit
        ]  # fmt: skip
        taken = _separate(runs)
        for run in runs:
            spots = [spot for spot in run if id(spot.segment) in taken]
            for spot in spots:
                running[spot.page].add(id(spot.segment))
            if len(spots) < minimum:
                continue
            pattern = _pattern(spots[0].segment.text)
            text = spots[0].segment.text
            if pattern not in seen and not is_page_number(text):
                first[spots[0].page].append(text)
                seen.add(pattern)
    for index, ids in running.items():
        rows = ([part for part in row if id(part) not in ids] for row in pages[index])
        pages[index][:] = [row for row in rows if row]
    own = {_pattern(part.text) for rows in pages for row in rows for part in row}
    return [[text for text in texts if _pattern(text) not in own] for texts in first]


def _usual_size(pages: Sequence[list[Row]]) -> float:
    """The commonest font size of the letters on all pages; 0 if there are none."""
    sizes: Counter[float] = Counter()
    for rows in pages:
        for row in rows:
            for part in row:
                sizes[part.size] += len(part.text)
    return sizes.most_common(1)[0][0] if sizes else 0.0


def _separate(runs: list[list[_Spot]]) -> set[int]:
    """Ids of the segments of those runs that stand apart from the text of their pages.

    A run next to another one stands apart if that does, so heads may have several lines.
    """
    taken: set[int] = set()
    rows: dict[tuple[int, int], bool] = {}
    for run in sorted(runs, key=lambda run: -run[0].depth):
        apart = sum(
            spot.stands_apart or rows.get((spot.page, spot.depth + 1), False) for spot in run
        )
        if is_page_number(run[0].segment.text) or apart > len(run) / 2:
            taken.update(id(spot.segment) for spot in run)
            rows.update({(spot.page, spot.depth): True for spot in run})
    return taken


def _without_figures(
    pages: Sequence[list[Row]], runs: list[list[_Spot]], numbers: dict[int, tuple[int, ...]]
) -> list[list[_Spot]]:
    """The runs without those that count something other than pages, and without labels.

    A label stands in a row with a figure that changes from page to page, such as `Total 1,204`.

    Args:
        numbers: the number of each page.
    """
    runs = [
        run for run in runs
        if len(run) > 1 and not (
            is_page_number(run[0].segment.text)
            and any(spot.numbers[:1] != numbers[spot.page] for spot in run)
        )
    ]  # fmt: skip
    same = {id(spot.segment) for run in runs for spot in run}
    labels = {
        id(part) for rows in pages for row in rows for part in row
        if any(id(other) not in same and _is_figure(other.text) for other in row)
    }  # fmt: skip
    return [[spot for spot in run if id(spot.segment) not in labels] for run in runs]


def _page_numbers(runs: list[list[_Spot]]) -> dict[int, tuple[int, ...]]:
    """The number that each page shows nearest to an edge, if any."""
    spots = [spot for run in runs if is_page_number(run[0].segment.text) for spot in run]
    spots.sort(key=lambda spot: -spot.depth)
    return {spot.page: spot.numbers[:1] for spot in spots}


def _is_figure(text: str) -> bool:
    """Whether a text is a number, an amount or the like rather than words."""
    digits = sum(character.isdigit() for character in text)
    return digits > sum(character.isalpha() for character in text)


def _runs(pages: Sequence[list[Row]], *, is_top: bool) -> Iterator[list[_Spot]]:
    """Places with one text on pages that follow each other, left and right pages apart or not."""
    by_pattern: dict[tuple[str, int], list[_Spot]] = defaultdict(list)
    for index, rows in enumerate(pages):
        for spot in _spots(index, rows, is_top=is_top):
            by_pattern[_pattern(spot.segment.text), round(spot.segment.size)].append(spot)
    for spots in by_pattern.values():
        run: list[_Spot] = []
        for spot in spots:
            if run and not _follows(run[-1], spot):
                yield run
                run = []
            run.append(spot)
        yield run


def _follows(last: _Spot, spot: _Spot) -> bool:
    """Whether a segment on one of the next two pages shows the same text, but for a page number."""
    pages = spot.page - last.page
    return (
        1 <= pages <= 2
        and abs(spot.offset - last.offset) <= _MAX_SHIFT
        and all(
            number in (before, before + pages)
            for before, number in zip(last.numbers, spot.numbers, strict=True)
        )
    )


def _spots(index: int, rows: Sequence[Row], *, is_top: bool) -> Iterator[_Spot]:
    """The segments in the rows nearest to the upper or lower edge of a page."""
    ordered = sorted(rows, key=lambda row: row[0].top, reverse=not is_top)
    for depth, row in enumerate(ordered[:_DEPTH]):
        for segment in row:
            if len(segment.text) <= _MAX_TEXT:
                yield _Spot(
                    index, depth, segment,
                    segment.top if is_top else segment.bottom,
                    _numbers(segment.text), _stands_apart(ordered[depth : depth + 3], segment.size),
                )  # fmt: skip


def _stands_apart(rows: Sequence[Row], size: float) -> bool:
    """Whether a gap separates the first row from the second, other than that before the third.

    Rows at equal distances are those of one table.
    """
    gaps = [_gap(row, inner) for row, inner in pairwise(rows)]
    is_regular = len(gaps) > 1 and abs(gaps[0] - gaps[1]) < _MAX_IRREGULARITY
    return not gaps or (gaps[0] > 0.6 * size and not is_regular)


def _gap(row: Row, other: Row) -> float:
    """Vertical space between two rows; negative where they overlap."""
    return max(other[0].top - row[0].bottom, row[0].top - other[0].bottom)


def _pattern(text: str) -> str:
    """A text without case, with a sign for each number in it that may be that of the page.

    In a line with other words, a number is one only behind a word such as `page`, or apart from
    them behind a mark. The number in `Invoice 1001` is part of the text.
    """
    folded = " ".join(text.casefold().split())
    if _ROMAN.fullmatch(folded):
        return "#"
    if set(_LETTERS.findall(folded)) <= _PAGE_WORDS:
        return _DIGITS.sub("#", folded)
    return _NUMBERED.sub(lambda match: _DIGITS.sub("#", match[0]), folded)


def _numbers(text: str) -> tuple[int, ...]:
    """The numbers in a text that may be that of the page, in order; a Roman numeral is one."""
    folded = " ".join(text.casefold().split())
    if not _ROMAN.fullmatch(folded):
        pieces = [folded] if set(_LETTERS.findall(folded)) <= _PAGE_WORDS else (
            [match[0] for match in _NUMBERED.finditer(folded)]
        )  # fmt: skip
        return tuple(int(digits) for piece in pieces for digits in _DIGITS.findall(piece))
    values = [{"i": 1, "v": 5, "x": 10, "l": 50, "c": 100}[letter] for letter in folded]
    signed = zip(values, [*values[1:], 0], strict=True)
    return (sum(-value if value < following else value for value, following in signed),)


def is_page_number(text: str) -> bool:
    """Whether a line holds nothing but the number of its page, as in `Page 3 of 12`."""
    pattern = _pattern(text)
    return "#" in pattern and set(_LETTERS.findall(pattern)) <= _PAGE_WORDS
