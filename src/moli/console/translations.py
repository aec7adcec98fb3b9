"""Texts of the page in English and in Chinese."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True, slots=True)
class Translation:
    """Texts of the page in one language; names in braces are filled in."""

    language: Literal["en-US", "zh-CN"]
    heading: str
    subheading: str
    placeholder: str
    question: str
    ask: str
    searching: str
    try_example: str
    one_document: str
    many_documents: str
    no_documents: str
    more_documents: str
    answer: str
    unsupported: str
    unsupported_hint: str
    no_answer: str
    no_answer_hint: str
    nearest_passages: str
    no_passages: str
    sources: str
    source: str
    page: str
    citation: str
    confidence: str
    made_of_quotes: str
    generated_by: str
    duration: str
    trace_id: str
    close: str
    excerpt_note: str
    document_removed: str
    server_error: str
    separator: str
    sign_in: str
    sign_in_hint: str
    key_label: str
    sign_in_button: str
    wrong_key: str
    stop: str
    stopped: str
    filter: str
    no_match: str
    nothing_visible: str
    drop: str
    drop_hint: str
    uploading: str
    added: str
    updated: str
    unchanged: str
    upload_failed: str
    helpful: str
    wrong: str
    thanks: str
    not_saved: str
    offline: str
    signed_in: str
    sign_out: str

    def count_label(self, documents: int) -> str:
        """The number of documents, in words."""
        many = self.many_documents.format(count=f"{documents:,}")
        return self.one_document if documents == 1 else many

    def upload_outcomes(self) -> dict[str, str]:
        """Texts for the outcomes of adding a file, by the names that the API gives them."""
        return {
            "waiting": self.uploading,
            "added": self.added,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "failed": self.upload_failed,
        }

    def page_label(self, page: int | None, heading: str) -> str:
        """A position in a document: its page and heading, as far as they are known."""
        parts = [self.page.format(page=page) if page is not None else "", heading]
        return self.separator.join(part for part in parts if part)


ENGLISH = Translation(
    language="en-US",
    heading="Ask your documents",
    subheading="Every answer shows the words it rests on.",
    placeholder="Ask a question",
    question="Question",
    ask="Ask",
    searching="Looking through the documents…",
    try_example="Try one of these",
    one_document="1 document",
    many_documents="{count} documents",
    no_documents="There are no documents yet. Add some with: moli add FOLDER",
    more_documents="and {count} more",
    answer="Answer",
    unsupported="not supported",
    unsupported_hint="No document was found that says this.",
    no_answer="Your documents do not answer this question.",
    no_answer_hint="Try other words, or look at the nearest passages.",
    nearest_passages="Nearest passages",
    no_passages="No passage comes close.",
    sources="Sources",
    source="Source",
    page="page {page}",
    citation="Source {number}: {title}",
    confidence="confidence {percent}%",
    made_of_quotes="quoted word for word",
    generated_by="written by {model}",
    duration="{seconds} s",
    trace_id="trace {id}",
    close="Close the source",
    excerpt_note="A long document: {first}–{last} of {total} characters are shown.",
    document_removed="This document no longer exists.",
    server_error="Something went wrong on the server. Please ask again.",
    separator=" · ",
    sign_in="Sign in",
    sign_in_hint="You need a key to use this server. Its owner can give you one.",
    key_label="Key",
    sign_in_button="Enter",
    wrong_key="That key is not valid. Check it, or ask for a new one.",
    stop="Stop",
    stopped="Stopped. No answer was stored.",
    filter="Filter by name",
    no_match="No document has such a name.",
    nothing_visible="Your key may not read any document. Ask the server's owner for access.",
    drop="Drop files here, or choose them",
    drop_hint="Everyone who may use this server will be able to read them.",
    uploading="reading…",
    added="added",
    updated="replaced the older version",
    unchanged="was there already",
    upload_failed="could not be sent",
    helpful="This answer is right",
    wrong="This answer is wrong",
    thanks="Thank you. Your rating is stored.",
    not_saved="Your rating could not be stored.",
    offline="The server does not answer. This page goes on by itself once it is back.",
    signed_in="signed in as {name}",
    sign_out="Sign out",
)

CHINESE = Translation(
    language="zh-CN",
    heading="向你的文档提问",
    subheading="每个回答都附上原文依据。",
    placeholder="请输入问题",
    question="问题",
    ask="提问",
    searching="正在查找文档…",
    try_example="试试这些问题",
    one_document="1 篇文档",
    many_documents="{count} 篇文档",
    no_documents="还没有文档。请用命令添加：moli add 文件夹",
    more_documents="还有 {count} 篇",
    answer="回答",
    unsupported="无依据",
    unsupported_hint="没有找到支持这句话的文档。",
    no_answer="文档中没有这个问题的答案。",
    no_answer_hint="换一种说法试试，或查看下面最接近的段落。",
    nearest_passages="最接近的段落",
    no_passages="没有接近的段落。",
    sources="出处",
    source="原文",
    page="第 {page} 页",
    citation="出处 {number}：{title}",
    confidence="置信度 {percent}%",
    made_of_quotes="逐字引用原文",
    generated_by="由 {model} 作答",
    duration="{seconds} 秒",
    trace_id="追溯号 {id}",
    close="关闭原文",
    excerpt_note="文档较长：显示第 {first}–{last} 字，共 {total} 字。",
    document_removed="这篇文档已不存在。",
    server_error="服务器出错了，请重新提问。",
    separator=" · ",
    sign_in="登录",
    sign_in_hint="本服务器只回答持有密钥的人。密钥由服务器的主人发放。",
    key_label="密钥",
    sign_in_button="进入",
    wrong_key="此密钥无效。请检查，或索取新的密钥。",
    stop="停止",
    stopped="已停止，没有保存回答。",
    filter="按名称筛选",
    no_match="没有名称相符的文档。",
    nothing_visible="你的密钥不能查看这里的任何文档。请向服务器的主人申请权限。",
    drop="把文件拖到这里，或点击选择",
    drop_hint="所有能使用本服务器的人都可以阅读这些文件。",
    uploading="正在读取…",
    added="已添加",
    updated="已替换旧版本",
    unchanged="已存在",
    upload_failed="发送失败",
    helpful="回答正确",
    wrong="回答有误",
    thanks="谢谢，评价已保存。",
    not_saved="评价未能保存。",
    offline="服务器没有响应。恢复后，页面会自动继续。",
    signed_in="已登录：{name}",
    sign_out="退出登录",
)


def translation_for(accept_language: str) -> Translation:
    """The language a browser prefers, by its Accept-Language header; English if it names neither.

    >>> translation_for("fr, zh-TW;q=0.8, en;q=0.5").language
    'zh-CN'
    """
    preferences = map(_parse_preference, accept_language.split(","))
    for preferred in sorted(preferences, key=lambda each: -each.weight):
        if preferred.weight > 0 and preferred.language in ("zh", "en"):
            return CHINESE if preferred.language == "zh" else ENGLISH
    return ENGLISH


@dataclass(frozen=True, slots=True)
class _Preference:
    """A language of an Accept-Language header, such as "en", and its weight from 0 to 1."""

    language: str
    weight: float


def _parse_preference(entry: str) -> _Preference:
    """One entry of the header, such as "en-GB;q=0.9"; its weight is 0 if it cannot be read."""
    tag, _, quality = entry.strip().partition(";")
    try:
        weight = float(quality.strip().removeprefix("q=")) if quality else 1.0
    except ValueError:
        weight = 0.0
    return _Preference(tag.strip().lower().split("-")[0], weight)
