"""The pages of a document as blocks.

Running lines stand once, a sentence goes on over the page break, and headings are found.
"""

import re
import statistics
from collections import Counter
from collections.abc import Mapping, Sequence

from moli.parsing.blocks import Blocks
from moli.parsing.pages import layout
from moli.parsing.pages.breaks import join_over_breaks
from moli.parsing.pages.layout import Block, Page
from moli.parsing.pages.running import take_running_lines

_TALL = 1.6  # height of a recognized title's lines, beside the usual height
_LETTERS = re.compile(r"[^\W_]+")

Titles = Mapping[str, int]
"""The levels of the titles on a page, by their keys."""


def title_key(text: str) -> str:
    """The letters and digits of `text`, case-folded, by which titles are compared."""
    return "".join(_LETTERS.findall(text)).casefold()


def add_pages(
    pages: Sequence[Page], blocks: Blocks, titles: Mapping[int, Titles] | None = None
) -> None:
    """Add the pages of a document to `blocks`.

    Args:
        titles: the titles that the document states itself, by the indices of their pages; if there
            are none, lines in larger letters are headings.
    """
    _PageWriter(pages, blocks, titles or {}).write()


class _PageWriter:
    """Adds the pages of one document to `blocks`."""

    def __init__(self, pages: Sequence[Page], blocks: Blocks, titles: Mapping[int, Titles]) -> None:
        self._pages, self._blocks, self._titles = pages, blocks, titles
        recognized = [page for page in pages if page.is_recognized]
        _even_out_sizes(recognized)
        # The height of recognized lines is not that of letters.
        self._body_sizes = {
            True: _body_size_of(recognized),
            False: _body_size_of([page for page in pages if not page.is_recognized]),
        }

    def write(self) -> None:
        """Add all pages."""
        heads = take_running_lines([page.parts[0] if page.parts else [] for page in self._pages])
        blocks = [
            list(layout.page_blocks(page, frozenset(self._titles.get(index, ())), title_key))
            for index, page in enumerate(self._pages)
        ]
        begun = join_over_breaks(blocks, [page.known_words for page in self._pages])
        for index, page in enumerate(self._pages):
            in_table = index > 0 and not heads[index] and _goes_on(blocks[index - 1], blocks[index])
            if index not in begun:
                self._blocks.begin_page(in_table=in_table)
            self._blocks.add_paragraph("\n".join(heads[index]))
            self._add_blocks(index, blocks[index], in_table=in_table)
            for comment in page.comments:
                self._blocks.add_paragraph(comment)

    def _add_blocks(self, index: int, blocks: list[Block], *, in_table: bool) -> None:
        """Add the blocks of a page.

        Args:
            in_table: whether its first rows belong to the table before it.
        """
        last = ("row" if in_table else "", "")
        for block in blocks:
            if (block.kind, block.marker) != last:
                self._blocks.end_group()
            last = (block.kind, block.marker)
            self._add_block(block, self._heading_level(index, block))

    def _heading_level(self, index: int, block: Block) -> int:
        """The level of the heading that a block on that page is; 0 if it is none."""
        if self._titles:
            return self._titles.get(index, {}).get(title_key(block.text), 0)
        body = self._body_sizes[self._pages[index].is_recognized]
        return _heading_level(block, body) if body else 0

    def _add_block(self, block: Block, level: int) -> None:
        """Add a paragraph, item or row, or if it has a level, a heading."""
        if block.kind == "row":
            self._blocks.add_row(block.cells)
        elif level and not block.page_starts:
            self._blocks.add_heading(block.text, level)
        elif block.kind == "item":
            self._blocks.add_item(block.text, block.marker, page_starts=block.page_starts)
        else:
            self._blocks.add_paragraph(block.text, block.page_starts)


def _goes_on(blocks: list[Block], following: list[Block]) -> bool:
    """Whether a page ends and the next begins with table rows of as many columns."""
    if not blocks or not following:
        return False
    last, first = blocks[-1], following[0]
    return last.kind == first.kind == "row" and len(last.cells) == len(first.cells)


def _heading_level(block: Block, body: float) -> int:
    """The heading level of a short block clearly larger than the body text; 0 if it is none."""
    ratio = block.size / body
    if block.kind != "text" or ratio < 1.15 or block.lines > 3 or len(block.text) > 160:
        return 0
    if sum(character.isalpha() for character in block.text) < 2 or block.text.endswith((".", "。")):
        return 0
    return 1 if ratio >= 1.6 else 2 if ratio >= 1.3 else 3


def _body_size_of(pages: list[Page]) -> float:
    """The commonest font size of the letters on the pages; 0 if they have no text."""
    sizes: Counter[float] = Counter()
    for page in pages:
        for part in page.segments():
            sizes[round(part.size, 1)] += len(part.text)
    return sizes.most_common(1)[0][0] if sizes else 0.0


def _even_out_sizes(pages: Sequence[Page]) -> None:
    """Give the lines of recognized pages one height, but those that are clearly higher, as titles.

    The height of a line depends on its letters, so that of one line differs from page to page.
    """
    medians = [(page, statistics.median(heights)) for page in pages
               if (heights := [segment.size for segment in page.segments()])]  # fmt: skip
    usual = statistics.median(median for _, median in medians) if medians else 1.0
    for page, median in medians:
        for segment in page.segments():
            ratio = segment.size / median
            center = (segment.top + segment.bottom) / 2
            segment.size = usual * (ratio if ratio > _TALL else 1.0)
            segment.top, segment.bottom = center - segment.size / 2, center + segment.size / 2
