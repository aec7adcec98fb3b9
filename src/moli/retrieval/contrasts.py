"""Words that exclude each other: what holds for adults does not answer what holds for students."""

from __future__ import annotations

import re
from functools import lru_cache

from moli.retrieval.chinese import IDEOGRAPH
from moli.retrieval.tokens import fold

# One set a line; words that mean the same are joined by "=".
_SETS = """
    single double twin triple
    upper lower
    left right
    inner outer
    indoor outdoor
    front=forward rear=back
    minimum=lowest=smallest maximum=highest=largest
    import=imports export=exports
    adult=adults child=children=kids student=students senior=seniors=pensioner=pensioners
    full-time part-time half-time
    spring summer autumn=fall winter
    morning afternoon evening
    departure=departures arrival=arrivals
    petrol diesel electric
    mother father
    husband wife
    son daughter
    red blue green yellow black white brown
    rugby football tennis badminton basketball
    mobile landline fax extension=ext
    成人=大人 儿童=小孩=孩子 学生 老人=长者=老年
    会员=社员 非会员=非社员
    进口 出口
    最大 最小
    最高 最低
    单人 双人 三人
    全职 兼职
    收入=营收 支出=开支
    春季=春天 夏季=夏天 秋季=秋天 冬季=冬天
    早上=上午=早晨 下午 晚上=夜间
    病假 事假 年假=特休 婚假 产假 陪产假 丧假
    内科 外科 儿科 眼科 牙科=口腔科 骨科 妇科 皮肤科 耳鼻喉科
    篮球 足球 羽毛球 乒乓球=桌球 排球 网球
    手机 分机 传真
    进货价=进价 售价=零售价
    男 女
    左 右
"""
_GROUPS = [[tuple(word.split("=")) for word in line.split()] for line in _SETS.strip().split("\n")]
_WORD = re.compile(r"[^\W\d_]+(?:-[^\W\d_]+)*")


def contrasts_in(question: str) -> list[str]:
    """The words of a question that exclude others; none of a set of which it has several."""
    words: list[str] = []
    for group in _GROUPS:
        named = [word for meaning in group for word in meaning if _has(question, word)]
        meanings = [meaning for meaning in group if any(word in meaning for word in named)]
        if len(meanings) == 1:
            words.append(max(named, key=len))
    return words


def excludes(text: str, near: str, word: str) -> bool:
    """Whether a text has a word that excludes this one, which is not near either."""
    for group in _GROUPS:
        own = next((meaning for meaning in group if word in meaning), None)
        if own is None or any(_has(near, each) for each in own):
            continue
        if any(_has(text, each) for meaning in group if meaning is not own for each in meaning):
            return True
    return False


def _has(text: str, word: str) -> bool:
    """Whether a text has a word in any of its forms."""
    if IDEOGRAPH.match(word):
        return _pattern(word).search(fold(text)) is not None
    return _singular(word) in _singulars(text)


@lru_cache
def _pattern(word: str) -> re.Pattern[str]:
    """A Chinese word that is not the end of a longer one of the sets: 产假, but not in 陪产假."""
    words = {each for group in _GROUPS for meaning in group for each in meaning}
    longer = sorted(each for each in words if each.endswith(word) and each != word)
    return re.compile("".join(f"(?<!{each.removesuffix(word)})" for each in longer) + word)


@lru_cache(maxsize=8192)
def _singulars(text: str) -> frozenset[str]:
    """The words of a text without an s at their ends, hyphenated ones as a whole."""
    return frozenset(map(_singular, _WORD.findall(fold(text))))


def _singular(word: str) -> str:
    """A word without an s at its end. A stem would be too short: mobility is no telephone."""
    return word.removesuffix("s")
