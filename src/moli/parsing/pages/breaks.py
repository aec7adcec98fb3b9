"""Paragraphs that run on over page breaks."""

from collections.abc import Sequence

from moli.parsing.pages.layout import SENTENCE_ENDS, Block
from moli.parsing.pages.prose import HYPHENS, is_unspaced, join_lines

_FOOTNOTE = 0.92  # Size of a footnote's letters at most, beside that of the text.


def join_over_breaks(pages: Sequence[list[Block]], known_words: Sequence[set[str]]) -> set[int]:
    """Move the rest of a paragraph from the top of a page to the page where it begins.

    A footnote under the paragraph is put before it. The paragraph knows where its pages begin.

    Args:
        pages: the blocks of each page; changed.
        known_words: the words on each page in lower case.

    Returns:
        Indices of the pages that begin inside a paragraph.
    """
    begun: set[int] = set()
    holder: list[Block] = []
    last: Block | None = None
    for index, blocks in enumerate(pages):
        if last is not None and blocks and _runs_on(last, blocks[0]):
            _put_last(holder, last)
            # Halves of a divided word are no words of the two pages.
            others = [*known_words[: index - 1], *known_words[index + 1 :]]
            words = set().union(*others) if last.text[-1] in HYPHENS else set()
            _append(last, blocks.pop(0), words)
            begun.add(index)
            if not blocks:
                continue  # It may run on to the next page.
        holder, last = blocks, _last_of_text(blocks)
    return begun


def _last_of_text(blocks: list[Block]) -> Block | None:
    """The last paragraph or item above the footnotes of a page; None after a table."""
    size = max((block.size for block in blocks if block.lines > 1), default=0.0)
    above = (block for block in reversed(blocks) if block.size > _FOOTNOTE * size)
    last = next(above, None)
    return last if last is not None and last.kind != "row" else None


def _runs_on(last: Block, block: Block) -> bool:
    """Whether `block`, the first of a page, is the rest of the paragraph `last`.

    It has the same size, `last` ends no sentence, and its last line is full, or parts a word, or
    the page begins in lower case.
    """
    if block.kind != "text" or abs(last.size - block.size) > 0.05 * last.size:
        return False
    if last.text.endswith(SENTENCE_ENDS):
        return False
    begins = block.text[0]
    if begins.islower() and (last.lines > 1 or last.text[-1] in HYPHENS):
        return True
    head = block.text[:2] if is_unspaced(begins) else block.text.split(maxsplit=1)[0]
    width = last.size * (1.0 if is_unspaced(begins) else 0.5)
    is_full = last.room < width * (len(head) + 1)
    return is_full and (last.lines > 1 or begins.islower())


def _append(last: Block, block: Block, known_words: set[str]) -> None:
    """Append the rest of a paragraph on the next page."""
    last.text = join_lines([last.text, block.text], known_words)
    last.page_starts.append(len(last.text) - len(block.text))
    last.lines += block.lines
    last.room = block.room


def _put_last(blocks: list[Block], block: Block) -> None:
    """Move a block to the end of the list that it is in."""
    index = next(index for index, each in enumerate(blocks) if each is block)
    blocks.append(blocks.pop(index))
