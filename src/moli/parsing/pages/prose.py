"""Joining printed lines into running text."""

import re
from collections.abc import Iterable, Sequence

_WORD = re.compile(r"[^\W\d_]+")
# Scripts written without spaces between words, with their punctuation and full-width forms.
_UNSPACED = re.compile(
    r"[\u2e80-\u30ff\u3100-\u312f\u31a0-\u4dbf\u4e00-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef"
    r"\U00020000-\U0003ffff]"
)
HYPHENS = "-\u2010\u00ad\x02\ufffe"
_DIVIDED = re.compile(r"\w+(?:[-\u2010]\s*\n\s*|[\u00ad\x02\ufffe]\s*)\w+")
BETWEEN_UNSPACED = re.compile(rf"(?<={_UNSPACED.pattern}) +(?={_UNSPACED.pattern})")


def is_unspaced(character: str) -> bool:
    """Whether a character belongs to a script written without spaces."""
    return bool(_UNSPACED.match(character))


def whole_words(lines: Iterable[str]) -> set[str]:
    """The words in `lines`, in lower case, without the halves of words divided at line ends."""
    text = _DIVIDED.sub(" ", "\n".join(lines))
    return {word.lower() for word in _WORD.findall(text)}


def join_lines(lines: Sequence[str], known_words: set[str]) -> str:
    """The lines of one paragraph as running text.

    A hyphen at the end of a line is dropped where it only divides a word: where the two
    halves form a word in `known_words`, or are not both words in it.

    Args:
        known_words: words of the page in lower case, from `whole_words`.
    """
    text = ""
    for line in lines:
        line = line.strip()
        if not text or not line:
            text = text or line
        elif text[-1] in HYPHENS and text[-2:-1].isalnum():
            text = _join_divided(text[:-1], line, text[-1], known_words)
        elif is_unspaced(text[-1]) and is_unspaced(line[0]):
            text += line
        else:
            text = f"{text} {line}"
    return text


def _join_divided(before: str, after: str, hyphen: str, known_words: set[str]) -> str:
    """The text before and after a hyphen at a line end, joined with or without it."""
    first = re.search(r"[^\W\d_]*$", before)
    second = _WORD.match(after)
    left = first[0].lower() if first else ""
    right = second[0].lower() if second else ""
    if not left or not right or not after[0].islower():
        return f"{before}-{after}"  # A number, a name or a range keeps its hyphen.
    if left + right in known_words:
        return before + after
    compound = before[: len(before) - len(left)].endswith("-")
    both_known = left in known_words and right in known_words and len(left) > 2 and len(right) > 3
    soft = hyphen in "\u00ad\ufffe"
    return f"{before}-{after}" if (compound or both_known) and not soft else before + after
