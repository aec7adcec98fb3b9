"""What the page says, in English and in Chinese."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Words:
    """The page's texts in one language; names in braces are filled in."""

    language: Literal["en-US", "zh-CN"]
    heading: str
    promise: str
    placeholder: str
    question: str
    ask: str
    asking: str
    try_one: str
    document: str
    documents: str
    no_documents: str
    more_documents: str
    answer: str
    unsupported: str
    unsupported_hint: str
    no_answer: str
    no_answer_hint: str
    nearest: str
    nothing_near: str
    sources: str
    source: str
    page: str
    citation: str
    confidence: str
    quoted: str
    worded: str
    took: str
    trace: str
    close: str
    part: str
    gone: str
    failed: str
    separator: str
    sign_in: str
    sign_in_hint: str
    key: str
    enter: str
    wrong_key: str

    def count_label(self, documents: int) -> str:
        """How many documents there are."""
        return self.document if documents == 1 else self.documents.format(count=f"{documents:,}")

    def page_label(self, page: int | None, heading: str) -> str:
        """Where in a document something stands: its page and heading, as far as they are known."""
        parts = [self.page.format(page=page) if page is not None else "", heading]
        return self.separator.join(part for part in parts if part)


ENGLISH = Words(
    language="en-US",
    heading="Ask your documents",
    promise="Every answer shows the words it rests on.",
    placeholder="Ask a question",
    question="Question",
    ask="Ask",
    asking="Looking through the documents…",
    try_one="Try one of these",
    document="1 document",
    documents="{count} documents",
    no_documents="There are no documents yet. Add some with: moli add FOLDER",
    more_documents="and {count} more",
    answer="Answer",
    unsupported="not supported",
    unsupported_hint="No document was found that says this.",
    no_answer="Your documents do not answer this question.",
    no_answer_hint="Try other words, or look at the nearest passages.",
    nearest="Nearest passages",
    nothing_near="No passage comes close.",
    sources="Sources",
    source="Source",
    page="page {page}",
    citation="Source {number}: {title}",
    confidence="confidence {percent}%",
    quoted="quoted word for word",
    worded="written by {model}",
    took="{seconds} s",
    trace="trace {id}",
    close="Close the source",
    part="A long document: {first}–{last} of {total} characters are shown.",
    gone="This document no longer exists.",
    failed="Something went wrong on the server. Please ask again.",
    separator=" · ",
    sign_in="Sign in",
    sign_in_hint="You need a key to use this server. Its owner can give you one.",
    key="Key",
    enter="Enter",
    wrong_key="That key is not valid. Check it, or ask for a new one.",
)

CHINESE = Words(
    language="zh-CN",
    heading="向你的文档提问",
    promise="每个回答都附上原文依据。",
    placeholder="请输入问题",
    question="问题",
    ask="提问",
    asking="正在查找文档…",
    try_one="试试这些问题",
    document="1 篇文档",
    documents="{count} 篇文档",
    no_documents="还没有文档。请用命令添加：moli add 文件夹",
    more_documents="还有 {count} 篇",
    answer="回答",
    unsupported="无依据",
    unsupported_hint="没有找到支持这句话的文档。",
    no_answer="文档中没有这个问题的答案。",
    no_answer_hint="换一种说法试试，或查看下面最接近的段落。",
    nearest="最接近的段落",
    nothing_near="没有接近的段落。",
    sources="出处",
    source="原文",
    page="第 {page} 页",
    citation="出处 {number}：{title}",
    confidence="置信度 {percent}%",
    quoted="逐字引用原文",
    worded="由 {model} 作答",
    took="{seconds} 秒",
    trace="追溯号 {id}",
    close="关闭原文",
    part="文档较长：显示第 {first}–{last} 字，共 {total} 字。",
    gone="这篇文档已不存在。",
    failed="服务器出错了，请重新提问。",
    separator=" · ",
    sign_in="登录",
    sign_in_hint="本服务器只回答持有密钥的人。密钥由服务器的主人发放。",
    key="密钥",
    enter="进入",
    wrong_key="此密钥无效。请检查，或索取新的密钥。",
)


def words_for(accept_language: str) -> Words:
    """The language a browser prefers, by its Accept-Language header; English if it names neither.

    >>> words_for("fr, zh-TW;q=0.8, en;q=0.5").language
    'zh-CN'
    """
    ranked = sorted(map(_preference, accept_language.split(",")), key=lambda pair: -pair[1])
    for tag, weight in ranked:
        if weight > 0 and tag in ("zh", "en"):
            return CHINESE if tag == "zh" else ENGLISH
    return ENGLISH


def _preference(part: str) -> tuple[str, float]:
    tag, _, quality = part.strip().partition(";")
    try:
        weight = float(quality.strip().removeprefix("q=")) if quality else 1.0
    except ValueError:
        weight = 0.0
    return tag.strip().lower().split("-")[0], weight
