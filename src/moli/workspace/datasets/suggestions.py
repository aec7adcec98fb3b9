"""A mapping of columns that would make rows readable, as a line to copy."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean
from typing import Any

from moli.workspace.datasets.columns import DatasetFormat
from moli.workspace.datasets.conversations import is_turns
from moli.workspace.datasets.fields import Row, in_yaml

_ROWS = 200  # that are looked at
# Parts of the names that people give to a column, the most telling first.
_HINTS: Mapping[str, Sequence[str]] = {
    "messages": ("message", "conversation", "dialog", "turn", "chat", "对话"),
    "text": ("text", "body", "content", "sentence", "review", "comment", "utterance", "message",
             "tweet", "description", "document", "title", "文本", "内容", "评论", "正文", "句子",
             "评价", "留言"),
    "label": ("label", "class", "category", "target", "intent", "sentiment", "tag", "topic", "star",
              "rating", "queue", "标签", "类别", "分类", "情感", "意图", "标注", "相似", "关系"),
    "instruction": ("instruction", "指令"),
    "output": ("output", "response", "answer", "输出", "回答"),
    "source": ("source", "prompt", "question", "input", "instruction", "query", "ask", "user",
               "article", "document", "content", "src", "问题", "提问", "输入", "原文", "指令",
               "内容", "问"),
    "target": ("target", "completion", "response", "answer", "output", "reply", "assistant",
               "summary", "highlight", "translation", "tgt", "回答", "答案", "输出", "回复",
               "摘要", "答", "译文"),
    "question": ("question", "query", "问题"),
    "context": ("context", "passage", "paragraph", "document", "text", "上下文", "段落", "文章"),
    "answers": ("answer", "答案", "回答"),
    "text_pair": ("pair", "2", "b", "second", "hypothesis", "假设"),
    "labels": ("label", "tag", "categor", "topic", "genre", "标签", "类别"),
    "text1": ("1", "a", "first", "premise", "前提"),
    "text2": ("2", "b", "second", "hypothesis", "假设"),
    "score": ("score", "similarity", "label", "分数", "相似度"),
    "query": ("query", "question", "anchor", "prompt", "问题", "查询"),
    "positive": ("positive", "pos", "passage", "chosen", "document", "answer", "正例"),
    "chosen": ("chosen", "prefer", "better", "best", "winner", "winning", "accept", "good", "pos",
               "positive", "被选", "选中", "采纳", "正", "优", "好"),
    "rejected": ("reject", "dispreferred", "worse", "worst", "loser", "losing", "bad", "neg",
                 "negative", "被拒", "拒绝", "落选", "负", "劣", "差", "坏"),
    "prompt": ("prompt", "question", "query", "instruction", "request", "ask", "input", "user",
               "post", "提示", "问题", "提问", "指令", "请求", "输入", "问", "用户", "客户"),
    "completion": ("completion", "response", "answer", "output", "reply", "assistant", "回答",
                   "答案", "回复", "答", "助手", "客服"),
    "completions": ("completion", "response", "answer", "candidate", "回答"),
    "image": ("image", "picture", "photo", "img", "file", "path", "图片"),
}  # fmt: skip
_MISSPELT = 0.85  # likeness of a name to the one that is meant
# Columns that a format can do without and that are suggested nevertheless, unless there is one of
# these.
_WORTH_MAPPING: Mapping[str, set[str]] = {
    "prompt": {"prompt", "messages"},
    "completion": {"completion"},
}
# Columns that are suggested by their names alone: texts do not tell which answer is better.
_NEVER_GUESSED = {"chosen", "rejected", "better"}
_WORDS = re.compile(r"[0-9]+|[^\W\d_]+")  # of a name


def suggest_columns(rows: Iterable[Row], formats: Iterable[DatasetFormat]) -> str:
    """The line of a recipe that maps columns so that rows fit a format; "" if none would do.

    The format whose columns the data's names recall best is taken.
    """
    seen = [row.values for _, row in zip(range(_ROWS), rows, strict=False)]
    columns: dict[str, list[Any]] = {}
    for values in seen:
        for name, value in values.items():
            columns.setdefault(name, []).append(value)
    best: dict[str, str] = {}
    best_score = 0.0
    for candidate in formats:
        mapping, score = _mapping_for(candidate, columns)
        if mapping and score > best_score:
            best, best_score = mapping, score
    return f"columns: {in_yaml(best)}" if best else ""


def _mapping_for(
    candidate: DatasetFormat, columns: Mapping[str, Sequence[Any]]
) -> tuple[dict[str, str], float]:
    """Columns of the data for those of a format, and how well their names recall it, from 0 to 1.

    One column that no name recalls is chosen by its values: texts are the longest ones.
    """
    first = {name: values[0] for name, values in columns.items()}
    named = candidate.names_in(first, {})
    mapping = {
        ours: name
        for ours, name in named.items()
        if ours in candidate.columns and _is_usable(ours, columns[name])
    }
    scores = [1.0] * len(mapping)
    known = dict(mapping)  # without being mapped
    for ours in [name for name in candidate.columns if name not in known]:
        score, name = _most_like(ours, columns, mapping)
        if score:
            mapping[ours] = name
            scores.append(score)
    missing = [ours for ours in candidate.columns if ours not in mapping]
    free = [name for name in columns if name not in mapping.values()]
    usable = [name for name in free if missing and _is_usable(missing[0], columns[name])]
    can_guess = not _NEVER_GUESSED & {*missing}
    if len(missing) == 1 and can_guess and usable and (scores or missing == ["text"]):
        ours = missing[0]
        order = _distinct if ours == "label" else _negative_mean_length
        mapping[ours] = min(usable, key=lambda name: order(columns[name]))
        missing = []
    if missing:
        return {}, 0.0
    for ours, others in _WORTH_MAPPING.items():
        if ours in candidate.optional and not others & named.keys():
            score, name = _most_like(ours, columns, {**named, **mapping})
            if score:
                mapping[ours] = name
    new = {ours: theirs for ours, theirs in mapping.items() if ours not in known}
    return new, (sum(scores) + 0.1) / len(candidate.columns)


def _most_like(
    ours: str, columns: Mapping[str, Sequence[Any]], taken: Mapping[str, str]
) -> tuple[float, str]:
    """The recall and the name of the free column that recalls one of Moli's most; 0 without one."""
    free = [name for name in columns if name not in taken.values()]
    usable = [name for name in free if _is_usable(ours, columns[name])]
    return max(((_recall(name, ours), name) for name in usable), key=_first, default=(0.0, ""))


def _first(pair: tuple[float, str]) -> float:
    return pair[0]


def _recall(name: str, ours: str) -> float:
    """Likeness of a column's name to what people call one of Moli's, from 0 (none) to 1."""
    folded = name.strip().casefold()
    for rank, hint in enumerate(_HINTS.get(ours, (ours,))):
        is_word = hint in _WORDS.findall(folded)
        is_part = hint in folded and len(hint) > (3 if ours in _NEVER_GUESSED else 1)
        if is_word or is_part or (hint in folded and not hint.isascii()):
            return (1.0 if is_word else 0.8) - 0.02 * rank
    likeness = difflib.SequenceMatcher(None, folded, ours).ratio()
    return 0.5 if ours in _NEVER_GUESSED and likeness > _MISSPELT else 0.0


def _is_usable(ours: str, values: Sequence[Any]) -> bool:
    """Whether a column has the type that one of Moli's columns needs."""
    if ours == "messages":
        return any(map(is_turns, values))
    if ours in ("chosen", "rejected"):
        return all(isinstance(value, str) or is_turns(value) for value in values)
    if ours == "better":
        return all(isinstance(value, str) and len(value) < 30 for value in values)
    if ours in ("answers", "completions"):
        return any(isinstance(value, list | dict) for value in values)
    if ours == "labels":
        return any(isinstance(value, list | str) for value in values)
    if ours == "label":
        distinct = {str(value) for value in values}
        is_scalar = all(isinstance(value, str | int | float) for value in values)
        return is_scalar and (len(distinct) <= max(2, len(values) // 2) or len(values) < 10)
    if ours == "score":
        return all(_is_number(value) for value in values)
    return any(isinstance(value, str) and value.strip() for value in values)


def _is_number(value: Any) -> bool:
    """Whether a value is a number, or the text of one."""
    return isinstance(value, int | float) or str(value).replace(".", "", 1).isdigit()


def _negative_mean_length(values: Sequence[Any]) -> float:
    """Mean number of characters of a column's values, as a sort key with the longest first."""
    return -fmean(len(str(value)) for value in values)


def _distinct(values: Sequence[Any]) -> float:
    """Number of different values."""
    return len({str(value) for value in values})
