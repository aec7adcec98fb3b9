from __future__ import annotations

import pytest

from moli.retrieval.tokens import key_terms

QUESTIONS = {
    "How many places does the bike garage have?": "place bike garag",
    "How much does the annual pass cost?": "annual pass cost",
    "How long is the warranty, and how often is it renewed?": "warranti renew",
    "At what time does the library close?": "librari close",
    "In which year was the bridge built?": "bridg built",
    "What kind of coffee do we have?": "coffe",
    "Can you tell me who runs the shop?": "run shop",
    "Do you know which room is free?": "room free",
    "What's the load of the bridge?": "load bridg",
    "It’s John’s file": "john file",
    "Many people wait long": "mani peopl wait long",  # content where nothing is asked by it
    "公司是什么时候成立的？": "公司 成立",
    "員工餐廳在哪裡？": "员工 餐厅",
    "哪儿可以停车": "停车",
    "咱们食堂啥时候开饭": "食堂 开饭",
    "打印机坏了咋办": "打印机 坏",
    "宿舍晚上几点熄灯": "宿舍 晚上 熄灯",
    "一张票多少钱": "一张 票",
    "怎样才能申请停车位": "申请 停车位",
    "请问报销要找谁签字？": "报销 签字",
    "会费能不能退": "会费 退",
    "有没有班车": "班车",
    "会议室可不可以提前预订一下": "会议室 提前 预订",
    "是不是每个人都有年终奖": "人 年终奖",
    "周一开不开门": "周一 开门",
    "你们还是我们负责": "负责",
    "試用期有多長時間？": "试用期",
    "规模有多大？": "规模",
    "為什麼要戴安全帽？": "戴 安全帽",
    "许多大学的话题": "许多 大学 话题",  # 多大 and 的话 are parts of other words
}


@pytest.mark.parametrize(("question", "terms"), QUESTIONS.items())
def test_only_content_is_left_of_a_question(question: str, terms: str) -> None:
    assert key_terms(question) == terms.split()


@pytest.mark.parametrize("question", ["How many?", "Who is it?", "什么时候？", "是谁？", "多少钱"])
def test_a_question_of_nothing_else_keeps_its_words(question: str) -> None:
    assert key_terms(question)
