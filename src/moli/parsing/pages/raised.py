"""Numbers on a page that are smaller than the text beside them and set higher."""

import re
from collections.abc import Callable
from itertools import groupby

from moli.parsing.pages.segments import Glyph
from moli.parsing.raised import raise_number

_NUMBER = re.compile(r"[+\-−]?\d+")
_MAX_SIZE = 0.85  # of a raised number, beside that of the text
_MIN_RISE, _MAX_RISE = 0.15, 0.75  # of its baseline, beside the size of the text
_SAME_BASELINE = 0.05


def raise_numbers(glyphs: list[Glyph], baseline: Callable[[int], float]) -> None:
    """Replace the characters of raised numbers by their superscripts.

    Args:
        glyphs: characters in the order of the file.
        baseline: the position of the baseline of a character, given its index.
    """
    text = "".join(glyph.text for glyph in glyphs)
    for match in _NUMBER.finditer(text):
        first, last = match.start(), match.end() - 1
        indices = (*range(first, last + 1), *_neighbors(text, first, last))
        sizes = [glyphs[index].size for index in indices]
        if min(sizes) > _MAX_SIZE * max(sizes):
            continue  # The common case, quickly.
        for _, run in groupby(range(first, last + 1), lambda index: round(baseline(index), 1)):
            number = list(run)
            if _is_raised(number, text, glyphs, baseline):
                raised = raise_number("".join(text[index] for index in number))
                for index, character in zip(number, raised, strict=True):
                    glyphs[index] = glyphs[index]._replace(text=character)


def _neighbors(text: str, first: int, last: int) -> list[int]:
    """The indices of the letters before and after a number, in the order of the file."""
    before, after = first - 1, last + 1
    while before >= 0 and text[before].isspace():
        before -= 1
    while after < len(text) and text[after].isspace():
        after += 1
    return [index for index in (before, after) if 0 <= index < len(text)]


def _is_raised(
    number: list[int], text: str, glyphs: list[Glyph], baseline: Callable[[int], float]
) -> bool:
    """Whether a number stands by itself above the baseline of larger text beside it."""
    if _is_numerator(number[-1], text, glyphs):
        return False
    size = max(glyphs[index].size for index in number)
    digit = glyphs[number[-1]]
    is_raised = False
    for index in _neighbors(text, number[0], number[-1]):
        other = glyphs[index]
        if not other.size:
            continue
        rise = (baseline(number[-1]) - baseline(index)) / other.size
        is_near = _distance(digit if index > number[-1] else glyphs[number[0]], other) < other.size
        if is_near and abs(rise) < _SAME_BASELINE and index in (number[0] - 1, number[-1] + 1):
            return False  # It is part of a longer text, such as `2nd`.
        is_higher = _MIN_RISE < rise < _MAX_RISE and size < _MAX_SIZE * other.size
        is_raised = is_raised or (is_near and is_higher)
    return is_raised


def _is_numerator(last: int, text: str, glyphs: list[Glyph]) -> bool:
    """Whether a number that ends at `last` is over another small number, as in 1/4."""
    slash, *_ = [index for index in _neighbors(text, last, last) if index > last] or [last]
    below = glyphs[slash + 1 : slash + 2]
    return (
        text[slash] in "/\N{FRACTION SLASH}"
        and bool(below)
        and below[0].text.isdigit()
        and below[0].size < _MAX_SIZE * glyphs[slash].size
    )


def _distance(one: Glyph, other: Glyph) -> float:
    """The larger one of the horizontal and the vertical gap between two boxes."""
    return max(
        other.left - one.right, one.left - other.right,
        other.bottom - one.top, one.bottom - other.top,
    )  # fmt: skip
