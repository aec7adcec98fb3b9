"""Words that put a question and tell nothing of its subject, in English and Chinese."""

from __future__ import annotations

import re

import Stemmer

# Question words whose parts would count as content, such as the "many" of "how many".
_PHRASES = re.compile(
    r"""
      \b how\s+ (?: many | much | long | old | often | far | big | large | tall | high | deep
                  | wide | fast | heavy | soon | late | early | come ) \b
    | \b (?: what | which )\s+ (?: (?: kind | type | sort )s?\s+ of | time | year | date | day ) \b
    | \b (?: (?: can | could | would | will )\s+ you\s+ )? (?: please\s+ )? tell\s+ (?: me | us ) \b
    | \b (?: do\s+ you | does\s+ any(?:one|body) )\s+ know \b
    | \b i \s+ (?: would\s+ like | want )\s+ to\s+ know \b
    | 为?[什甚]么 (?: 时候 | 时间 | 地方 | 样 )? | 啥 (?: 时候 | 时间 | 地方 )? | 为[何啥]
    | 哪 (?: 一?[个天年月种家位] | [里儿边些] )? | 何[时地处人] | 谁
    | 多少钱? | 多久 | 多长时间 | 多[长大远高重宽深快厚] (?= 的? (?: \W | $ ) )
    | 几[点个号天次年月位岁楼层块倍] (?: 钟 )? | 怎么[样办]? | 怎样 | 如何 | 咋[样办]?
    | 能否 | 是否 | 可否 | 有无 | 请问 | 请教 | 告诉我 | 想知道 | 想问
    """,
    re.VERBOSE,
)
# The verb of a yes-or-no question is repeated: 能不能, 有没有, 开不开门.
_REPEATED_VERB = re.compile(r"([\u4e00-\u9fff]{1,2}?)[不没]\1")

_ENGLISH = """
    a am an and any anybody anyone are as at be been being but by can cannot could did do does doing
    done for from had has have having he her hers him his how i if in into is it its just may me
    might mine must my of on or our ours please shall she should so some such than that the their
    theirs them then there these they this those to us was we were what when where whether which who
    whom whose why will with would you your yours
"""
_CHINESE = """
    的 地 得 了 着 过 吗 呢 吧 啊 呀 嘛 么 之 是 在 有 和 与 或 跟 及 被 把 给 让 向 从 到 于 对 就
    才 都 也 还 又 再 很 要 会 能 可 可以 能够 才能 该 应该 需要 需 想 请 麻烦 谢谢 一下 一般 到底
    究竟 的话 还是 或者 如果 要是 没 没有 不是 什 何 几 多 找 时候 我 我们 咱 咱们 你 你们 您 他 她
    它 他们 她们 它们 自己 大家 这 这个 这些 这里 这儿 那 那个 那些 那里 那儿 每 每个 个
"""


def _stems(words: str) -> frozenset[str]:
    """The stems of a list of English words."""
    return frozenset(Stemmer.Stemmer("english").stemWords(words.split()))


FUNCTION_WORDS = _stems(_ENGLISH) | frozenset(_CHINESE.split())


def without_question_words(text: str) -> str:
    """A folded question with a space in place of each question word of several words."""
    return _PHRASES.sub(" ", _REPEATED_VERB.sub(r" \1", text))
