"""Text broken into lines by the columns that its characters take on a terminal."""

from __future__ import annotations

import re
import unicodedata

_WIDE = (
    "\u1100-\u115f\u2e80-\u9fff\uac00-\ud7a3\uf900-\ufaff\ufe30-\ufe6f\uff00-\uff60\uffe0-\uffe6"
)
_OPENING = "“（《「『‘("
_CLOSING = re.escape("，。！？：；、）》」』”’…,.!?:;)]}")
# Words and single wide characters, each with the marks that may not end or begin a line.
_PIECE = re.compile(
    rf"\s+|[{_OPENING}]*(?:[{_WIDE}]|[^\s{_WIDE}{_OPENING}]+)[{_CLOSING}]*|[{_OPENING}]+"
)


def cell_len(text: str) -> int:
    """The columns that a text takes."""
    if text.isascii():
        return len(text)
    return sum(map(_columns, text))


def _columns(character: str) -> int:
    """The columns that a character takes: 0 if it is combined with the one before."""
    if unicodedata.combining(character) or unicodedata.category(character) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(character) in ("W", "F") else 1


def pad(text: str, columns: int) -> str:
    """A text with spaces after it, so that it takes this many columns."""
    return text + " " * (columns - cell_len(text))


def wrap(text: str, width: int) -> list[str]:
    """The lines of a text: broken at spaces and between Chinese characters.

    A word that is longer than a line has a line of its own.
    """
    lines = [""]
    for piece in _PIECE.findall(text):
        if lines[-1] and cell_len((lines[-1] + piece).rstrip()) > width:
            lines[-1] = lines[-1].rstrip()
            lines.append("")
        lines[-1] += piece if lines[-1] else piece.lstrip()
    return [line.rstrip() for line in lines if line.strip()]
