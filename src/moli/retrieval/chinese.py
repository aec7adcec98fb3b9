"""Chinese text: scripts and regional vocabularies made one, and words cut out of it.

OpenCC has the tables of characters and words; jieba has the dictionary of words. Both are loaded on
the first Chinese text only.
"""

from __future__ import annotations

import functools
import logging
import re
from collections import Counter
from itertools import pairwise
from typing import Any

CJK = "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f"
IDEOGRAPH = re.compile(f"[{CJK}]")
_UNREADABLE = re.compile("[\0\ud800-\udfff]")  # OpenCC reads UTF-8 up to the first NUL

# jieba tags parts of speech: places, organizations and foreign persons are names, and so are other
# persons ("nr") if they begin with a surname, since the tag is given to many other words.
_NAME_TAGS = frozenset({"ns", "nt", "nrt"})
_SURNAMES = frozenset(
    "王李张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐冯于董萧程曹袁邓许傅沈曾彭吕苏卢蒋蔡贾丁魏薛叶阎"
    "余潘杜戴夏钟汪田任姜范方石姚谭廖邹熊金陆郝孔白崔康毛邱秦江史顾侯邵孟龙万段雷钱汤尹黎易常武乔贺赖龚文"
)
# One in ten thousand characters of general language: rarer ones stand in names of things mostly.
_RARE = 1e-4
# Words with one of these tags that are no names.
_NO_NAMES = frozenset(
    "上山 下山 东西 城市 家里人 宽度 打扫卫生 普通 河口 海鲜 礼拜 长度 高度".split()  # noqa: SIM905
)
_POST = re.compile(
    "先生|小姐|女士|老师|师傅|经理|主任|部门|店长|组长|处长|主管|助理|总监|医生|护士|主席|会长|干事"
    "|专员|客服|行政|人事|财务|前台|保安"
)


def to_simplified(text: str) -> str:
    """The text with its traditional Chinese in simplified characters.

    Taiwan and Hong Kong write some characters in forms of their own, so both tables are used.
    """
    if not IDEOGRAPH.search(text):
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


def share_of(word: str) -> float:
    """The share that a word has of all words in general language; 0 of one that jieba lacks."""
    segmenter = _segmenter()
    segmenter.initialize()
    return float(segmenter.FREQ.get(word, 0)) / float(segmenter.total)


def names_of(text: str) -> list[tuple[str, str]]:
    """The names of persons, places and organizations in a simplified text.

    Each comes with the noun that it determines, such as 分公司 after 上海, or "".
    """
    words = [(each.word, each.flag) for each in _tagger().cut(text)]
    names = []
    for (word, tag), (following, following_tag) in pairwise([*words, ("", "")]):
        is_name = _is_person(word, tag) or tag in _NAME_TAGS
        if len(word) > 1 and is_name and word not in _NO_NAMES:
            names.append((word, following if following_tag.startswith("n") else ""))
    return names


def rare_characters_of(text: str) -> list[tuple[str, str]]:
    """The rarest characters of words that jieba lacks, each after its word, if they are rare.

    They stand for things that have names of their own: 鳗 for the fish 肛鳗.

    Args:
        text: simplified Chinese.
    """
    unknown = (word for word in words_of(text) if len(word) > 1 and not share_of(word))
    rarest = [(word, min(word, key=_character_share)) for word in unknown]
    return [
        (word, character)
        for word, character in rarest
        if IDEOGRAPH.match(character) and _character_share(character) < _RARE
    ]


def _character_share(character: str) -> float:
    """The share that a character has of all characters in general language."""
    return _character_shares().get(character, 0.0)


@functools.cache
def _character_shares() -> dict[str, float]:
    """The share that each character has of all characters in general language."""
    segmenter = _segmenter()
    segmenter.initialize()
    counts: Counter[str] = Counter()
    for word, count in segmenter.FREQ.items():
        for character in word:
            counts[character] += count
    total = counts.total()
    return {character: count / total for character, count in counts.items()}


@functools.lru_cache(maxsize=8192)
def has_person(text: str) -> bool:
    """Whether a simplified text names a person, a post or a department."""
    if not IDEOGRAPH.search(text):
        return False
    if _POST.search(text):
        return True
    return any(_is_person(each.word, each.flag) for each in _tagger().cut(text))


def _is_person(word: str, tag: str) -> bool:
    """Whether a tagged word is the name of a Chinese person."""
    return tag == "nr" and word[0] in _SURNAMES and 2 <= len(word) <= 3


def parts_of(word: str) -> list[str]:
    """The words that a compound consists of, or the word itself: 公司, 总部 for 公司总部.

    A compound is often cut otherwise in another sentence.
    """
    if len(word) < 3:
        return [word]
    inner = [part for part in all_words_of(word) if part != word]
    return inner if "".join(inner) == word else [word]


@functools.cache
def _converter(config: str) -> Any:
    """OpenCC's converter of that name, such as `tw2s`: from Taiwan's script to simplified."""
    from opencc import OpenCC

    return OpenCC(config)


@functools.cache
def _tagger() -> Any:
    """jieba's tagger of parts of speech, on the same dictionary."""
    from jieba.posseg import POSTokenizer

    return POSTokenizer(_segmenter())


@functools.cache
def _segmenter() -> Any:
    """The jieba tokenizer, whose dictionary takes most of a second to load."""
    import jieba

    jieba.setLogLevel(logging.WARNING)
    return jieba.Tokenizer()
