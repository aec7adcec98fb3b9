"""What questions ask for, and which texts have it."""

from __future__ import annotations

import pytest

from moli.retrieval.answer_kinds import has_asked_kind

KINDS = [
    ("几点关门？", "九點關門", "星期六关门"),
    ("What time do you close?", "We close at 5.30.", "We close on Friday."),
    ("报销的钱每个月哪天到账？", "款項於每月 25 日隨薪金發放。", "退全款，并报销打车费 46 元。"),
    ("When is the rent due?", "It is due on 6 February.", "The rent is due."),
    ("仓库租金多少？", "租金 7,800 元", "押金为两个月租金"),
    ("How much does a fob cost?", "A new fob costs £25.", "Fobs are blue."),
    ("保修多久？", "保固一年。", "保修卡在盒内。"),
    ("How long is the lease?", "The term is four years.", "The lease is in the safe."),
    ("李明的电话是多少？", "李明：8802", "李明在财务部"),
    ("What is the extension of the night nurse?", "Night nurse: ext. 230", "The nurse is kind."),
    ("谁管仓库？", "仓库由王芳负责。", "仓库在三楼。"),
    ("Who holds the keys?", "Keys are held by Benedikta Lohr.", "keys are in the box"),
    ("How many steps has it?", "It has five steps.", "It has some steps."),
    ("週會在星期幾？", "每周三开会", "在三楼开会"),
    ("What does the lathe weigh, how many kilos?", "Weight: 2300 kg", "Model: CK6140"),
    ("车床哪年买的？", "购置日期：2021 年", "型号：CK6140"),
    ("压缩机的保管人是谁？", "保管人：何静", "编号：EQ-2210"),
    ("押金多少？", "押金RMB500", "型号：CK6140"),
    ("单号是多少？", "单号：W-5063", "维修人员：丁鸣"),
]


@pytest.mark.parametrize(("question", "has", "lacks"), KINDS)
def test_a_text_has_what_is_asked_for_or_lacks_it(question: str, has: str, lacks: str) -> None:
    assert has_asked_kind(question, has) is True
    assert has_asked_kind(question, lacks) is False


@pytest.mark.parametrize("question", ["Why is it loud?", "能带狗吗？", "What is a fob?"])
def test_other_questions_ask_for_no_known_kind(question: str) -> None:
    assert has_asked_kind(question, "Anything.") is None
