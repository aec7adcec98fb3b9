"""From printed lines back to running text."""

import re
from collections.abc import Iterable, Sequence

_WORD = re.compile(r"[^\W\d_]+")
# Scripts written without spaces between words, with their punctuation and full-width forms.
_UNSPACED = re.compile(
    r"[\u2e80-\u30ff\u3100-\u312f\u31a0-\u4dbf\u4e00-\u9fff\uf900-\ufaff\ufe30-\ufe4f\uff00-\uffef"
    r"\U00020000-\U0003ffff]"
)
_HYPHENS = "-\u2010\u00ad\x02\ufffe"
_DIVIDED = re.compile(r"\w+(?:[-\u2010]\s*\n\s*|[\u00ad\x02\ufffe]\s*)\w+")
_BETWEEN_UNSPACED = re.compile(rf"(?<={_UNSPACED.pattern})[ \t]+(?={_UNSPACED.pattern})")
_AROUND_MARKS = re.compile(r"[ \t]+(?=[。，、；：！？）」』》】])|(?<=[（「『《【])[ \t]+")


def is_unspaced(character: str) -> bool:
    """Whether a character belongs to a script written without spaces."""
    return bool(_UNSPACED.match(character))


def words(lines: Iterable[str]) -> set[str]:
    """The whole words that stand in `lines`, in lower case; halves of divided ones do not count."""
    text = _DIVIDED.sub(" ", "\n".join(lines))
    return {word.lower() for word in _WORD.findall(text)}


def close_up(text: str) -> str:
    """`text` without the spaces that recognition puts around Chinese characters and marks."""
    return _AROUND_MARKS.sub("", _BETWEEN_UNSPACED.sub("", text))


def join_lines(lines: Sequence[str], vocabulary: set[str]) -> str:
    """One paragraph from its lines.

    A hyphen at the end of a line is dropped where it only divides a word: where the two
    halves make a word of `vocabulary`, or are not both words of it.
    """
    text = ""
    for line in lines:
        line = line.strip()
        if not text or not line:
            text = text or line
        elif text[-1] in _HYPHENS and text[-2:-1].isalnum():
            text = _join_divided(text[:-1], line, text[-1], vocabulary)
        elif is_unspaced(text[-1]) and is_unspaced(line[0]):
            text += line
        else:
            text = f"{text} {line}"
    return text


def _join_divided(head: str, tail: str, hyphen: str, vocabulary: set[str]) -> str:
    first = re.search(r"[^\W\d_]*$", head)
    second = _WORD.match(tail)
    left = first[0].lower() if first else ""
    right = second[0].lower() if second else ""
    if not left or not right or not tail[0].islower():
        return f"{head}-{tail}"  # A number, a name or a range keeps its hyphen.
    if left + right in vocabulary:
        return head + tail
    compound = head[: len(head) - len(left)].endswith("-")
    both_known = left in vocabulary and right in vocabulary and len(left) > 2 and len(right) > 3
    soft = hyphen in "\u00ad\ufffe"
    return f"{head}-{tail}" if (compound or both_known) and not soft else head + tail
