"""Words around an answer that is not plain: it has rivals, it is only close, or there is none."""

from __future__ import annotations

from collections.abc import Sequence

from moli.records.answers import Absence, Answer, Trace
from moli.retrieval.tokens import Language
from moli.workspace.filter import Filter
from moli.workspace.passages import PassageStore

_TEXTS: dict[Language, dict[Absence, str]] = {
    "en": {
        "not_in_documents": "Your documents do not answer this question.",
        "no_documents": "There are no documents yet. Add some with: moli add PATH",
        "no_access": "No document is open to you: {groups}.",
        "no_match": "No document that you may see has {where}.",
    },
    "zh": {
        "not_in_documents": "文档中没有这个问题的答案。",
        "no_documents": "还没有文档。请用命令添加：moli add 路径",
        "no_access": "没有对你开放的文档：{groups}。",
        "no_match": "你能看到的文档中，没有一篇的属性是 {where}。",
    },
}
_GROUPS: dict[Language, tuple[str, str]] = {
    "en": ("you are in no group", "none is in {names}"),
    "zh": ("你不在任何组里", "没有一篇属于组 {names}"),
}
_CLOSEST: dict[Language, str] = {
    "en": "Not sure. The closest sentence in your documents:",
    "zh": "不确定。文档中最接近的句子：",
}
_CONFLICT: dict[Language, str] = {
    "en": "Your documents differ on this:",
    "zh": "文档中的说法不一致：",
}
_MISSING: dict[Language, str] = {
    "en": "The closest sentence does not mention: {terms}",
    "zh": "最接近的句子没有提到：{terms}",
}


def heading_of(answer: Answer | Trace, language: Language) -> str:
    """The words before sentences that disagree, or before one that is no answer; else ""."""
    if answer.conflict:
        return _CONFLICT[language]
    return _CLOSEST[language] if answer.closest else ""


def missing_note(missing: Sequence[str], language: Language) -> str:
    """Words on the terms that the closest sentence lacks; "" if it lacks none."""
    return _MISSING[language].format(terms=", ".join(missing)) if missing else ""


def find_absence(passages: PassageStore, visible: Filter) -> Absence:
    """The reason why a filter lets no document through; "" if it lets any through."""
    if passages.any_visible(visible):
        return ""
    if not passages.any_visible(Filter(everything=True)):
        return "no_documents"
    groups_only = Filter(visible.groups, everything=visible.everything)
    return "no_match" if passages.any_visible(groups_only) else "no_access"


def explain_absence(absence: Absence, visible: Filter, language: Language) -> str:
    """The reason in a sentence."""
    nowhere, names = _GROUPS[language]
    groups = names.format(names=", ".join(sorted(visible.groups))) if visible.groups else nowhere
    where = ", ".join(f"{key}={value}" for key, value in visible.where.items())
    return _TEXTS[language][absence].format(groups=groups, where=where)
