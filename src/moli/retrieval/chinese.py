"""Chinese text: scripts and regional vocabularies made one, and words cut out of it.

OpenCC has the tables of characters and words; jieba has the dictionary of words. Both are loaded on
the first Chinese text only.
"""

from __future__ import annotations

import functools
import logging
import re
from collections.abc import Callable, Iterator
from typing import Any

IsKnown = Callable[[str], bool]  # whether an index has a term

# Endings that are often left out: 分机号 and 分机, 财务部 and 财务.
_SUFFIXES = frozenset("号额数量费率期处室部员")

CJK = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"
_IDEOGRAPH = re.compile(f"[{CJK}]")
_UNREADABLE = re.compile("[\0\ud800-\udfff]")  # OpenCC reads UTF-8 up to the first NUL


def to_simplified(text: str) -> str:
    """The text with its traditional Chinese in simplified characters.

    Taiwan and Hong Kong write some characters in forms of their own, so both tables are used.
    """
    if not _IDEOGRAPH.search(text):
        return text
    readable = _UNREADABLE.sub(" ", text)
    return str(_converter("tw2s").convert(_converter("hk2s").convert(readable)))


@functools.lru_cache(maxsize=200_000)
def mainland_word(word: str) -> str:
    """The word that the mainland uses for a simplified word, such as 软件 for Taiwan's 软体.

    A word is converted to Taiwan's vocabulary and back, which gives one word for all that mean the
    same: 资讯 and 信息 both give 信息.
    """
    return str(_converter("tw2sp").convert(_converter("s2twp").convert(word)))


def words_of(run: str) -> list[str]:
    """The words of a run of simplified Chinese, which make up the run in order."""
    return list(_segmenter().cut(run))


def all_words_of(run: str) -> list[str]:
    """The words of a run of simplified Chinese, and the words that are inside of longer ones."""
    return list(_segmenter().cut_for_search(run))


def parts_of(word: str, is_known: IsKnown | None = None) -> list[str]:
    """The words to match instead of a long one, which is often cut otherwise in another sentence.

    A compound of whole words gives these (公司总部: 公司, 总部). A word that no text of the index
    has gives those in it that one has (分机号: 分机), or the longest known pieces of a name.

    Args:
        is_known: whether the index has a term; None if there is none to ask.
    """
    if len(word) < 3:
        return [word]
    inner = [part for part in all_words_of(word) if part != word]
    if "".join(inner) == word:
        return inner
    if is_known is None or is_known(mainland_word(word)):
        return [word]
    pieces = list(longest_known(word, is_known))
    if len(pieces) == len(word):
        return [word]
    return pieces[:-1] if pieces[-1] in _SUFFIXES else pieces


def longest_known(text: str, is_known: IsKnown) -> Iterator[str]:
    """The text cut into the longest pieces that are known, and single characters between them."""
    start = 0
    while start < len(text):
        longer = (text[start:end] for end in range(len(text), start + 1, -1))
        piece = next(filter(is_known, longer), text[start])
        yield piece
        start += len(piece)


@functools.cache
def _converter(config: str) -> Any:
    """OpenCC's converter of that name, such as `tw2s`: from Taiwan's script to simplified."""
    from opencc import OpenCC

    return OpenCC(config)


@functools.cache
def _segmenter() -> Any:
    """The jieba tokenizer, whose dictionary takes most of a second to load."""
    import jieba

    jieba.setLogLevel(logging.WARNING)
    return jieba.Tokenizer()
