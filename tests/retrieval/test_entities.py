"""Entities of questions, and which of them a text lacks."""

from __future__ import annotations

import pytest

from moli.retrieval.entities import entities, missing_entities


def missing(question: str, own: str, around: str = "", passage: str = "") -> tuple[str, ...]:
    return missing_entities(entities(question), own, around, passage or f"{own}\n{around}")


SWAPPED = [
    ("What is the maximum load of bridge B7?", "Bridge B6 carries 40 tonnes.", ("B7",)),
    ("What does error E-4099 mean?", "E-4012: the door is open.", ("E-4099",)),
    ("What changed in version 2.1.10?", "2.10.1: new export.", ("2.1.10",)),
    ("Which torque applies to screw M8x30?", "M8x25: 24 Nm", ("M8x30",)),
    ("What was the revenue in 2021?", "The revenue in 2022 was 9.1 million.", ("2021",)),
    ("What is the number of the Hamburg branch?", "The Bremen branch: 0421 17.", ("Hamburg",)),
    ("Who leads Kestrel Energy?", "Falcon Energy is led by Ann Lee.", ("Kestrel Energy",)),
    ("When was Anna Schmidt hired?", "Peter Schmidt was hired in May.", ("Anna Schmidt",)),
    ("What happened on March 4, 2025?", "On 2025-03-03 it was flooded.", ("March 4, 2025",)),
    ("How many litres does it hold?", "It weighs 40 kg.", ("litres",)),
    ("What causes a type II error?", "A type I error is a false alarm.", ("2",)),
    ("What is Anna's mobile number?", "Anna: extension 4417", ("mobile",)),
    ("2025年的出口额是多少？", "2024年出口额为3亿元。", ("2025",)),
    ("上海分公司的电话是多少？", "北京分公司电话：010-88。", ("上海",)),
    ("谁是财务部经理？", "人事部经理是王芳。", ("财务部",)),
    ("做滿五年有幾天特休？", "滿一年給七天，滿兩年給十天。", ("五",)),
    ("機台 M-204 多久保養一次？", "M-203 每月保養。", ("M-204",)),
]  # fmt: skip


@pytest.mark.parametrize(("question", "text", "lacks"), SWAPPED)
def test_a_swapped_entity_is_missing(question: str, text: str, lacks: tuple[str, ...]) -> None:
    assert missing(question, text) == lacks


KEPT = [
    ("What is the maximum load of bridge B7?", "Bridge B 7 carries 40 tonnes."),
    ("What does error E-4012 mean?", "E4012: the door is open."),
    ("What was the revenue in 2022?", "2022 saw a revenue of 9.1 million."),
    ("What happened on March 3, 2025?", "On 2025-03-03 the cellar was flooded."),
    ("What happened on 3.3.2025?", "The cellar was flooded on 3 March."),
    ("When was Barack Obama born?", "Obama was born in 1961."),
    ("When did Beyoncé Knowles sing?", "Beyoncé sang in May."),
    ("What did the UN decide?", "The United Nations decided on a plan."),
    ("What did the United Nations decide?", "The UN decided on a plan."),
    ("Who leads Kestrel Energy's board?", "Kestrel Energy is led by Ann Lee."),
    ("How long is the tunnel in kilometres?", "The tunnel is 4 km long."),
    ("Does a stay of 1000 days count?", "Stays of 1,000 days count."),
    ("Who won in the 1990s?", "In the 1990s, Ajax won."),
    ("What Is The Maximum Load Of The Bridge?", "It carries 40 tonnes."),
    ("Why am I late if I'm early?", "Clocks differ."),
    ("When did World War 2 end?", "World War II ended in 1945."),
    ("Where is economic mobility high?", "The extension of credit helps economic mobility."),
    ("2025年的出口额是多少？", "二〇二五年出口额为3亿元。"),
    ("上海分公司的電話是多少？", "上海分公司电话：021-88。"),
    ("谁是财务部经理？", "財務經理是王芳。"),
    ("做满5年有几天年假？", "滿五年給十四天。"),
    ("一共有多少人？", "共有 30 人。"),
    ("十五号发工资吗？", "每月15日发放工资。"),
]


@pytest.mark.parametrize(("question", "text"), KEPT)
def test_an_entity_in_another_form_is_not_missing(question: str, text: str) -> None:
    assert missing(question, text) == ()


def test_an_entity_may_stand_elsewhere_in_the_passage_but_not_against_a_rival() -> None:
    passage = "The Main Hall opened in 1932. It has 800 seats. B6 carries 40 tonnes, B7 carries 12."
    assert missing("How many seats has the Main Hall?", "It has 800 seats.", "", passage) == ()
    assert missing("What does B7 carry?", "B6 carries 40 tonnes.", "", passage) == ("B7",)


def test_a_heading_or_header_counts_as_near() -> None:
    assert missing("What was the revenue in 2022?", "Revenue: 9.1", "Year 2022") == ()


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("Does the iPhone charge?", "The iPhone charges by cable."),
        ("Why have sales decreased 12 percent?", "Sales fell by 12 percent."),
        ("How many seats has B7?", "Bus B7 has 800 seats."),
        ("What did the Indian team win?", "India won gold."),
        ("What did Mr. Smith sign?", "Smith signed the lease."),
        ("这台机器用多少千瓦时？", "每天用电 50 千瓦时。"),
    ],
)
def test_what_only_looks_like_an_entity_is_not_missing(question: str, text: str) -> None:
    assert missing(question, text) == ()


def test_a_person_with_a_title_is_a_name() -> None:
    assert missing("What did Mr. Smith sign?", "Jones signed the lease.") == ("Smith",)


@pytest.mark.parametrize(
    ("question", "text", "lacks"),
    [
        ("What is the price in December?", "A room costs 118 euros in May.", "December"),
        ("Is it open on Sunday?", "Open from Monday to Friday.", "Sunday"),
        ("图书室星期天几点开门？", "图书室周一到周五上午九点开门。", "星期天"),
        ("十二月的房价是多少？", "双人房五月每晚 118 元。", "十二月"),
        ("How much is the pass for students?", "The pass costs 340 euros for adults.", "students"),
        ("What does a single room cost?", "A double room costs 118 euros.", "single"),
        ("How deep is the well on the lower farm?", "The well on the upper farm is deep.", "lower"),
        ("何雅雯的手机号是多少？", "何雅雯：分机 221", "手机"),
        ("借羽毛球拍要押多少钱？", "借用乒乓球拍要押五十元。", "羽毛球"),
        ("儿童票多少钱？", "成人票 30 元。", "儿童"),
        ("陪产假有几天？", "产假为 158 天。", "陪产假"),
        ("产假有几天？", "陪产假为 15 天。", "产假"),
        ("非会员能参加吗？", "会员可以参加。", "非会员"),
        ("眼科醫師是誰？", "小兒科陳醫師，牙科黃醫師。", "眼科"),
        ("Are you open on Fridays?", "Open Tuesdays and Thursdays.", "Fridays"),
        ("迟到四十分钟怎么办？", "迟到三十分钟按事假处理。", "四十"),
        ("What is Ann Lee's extension?", "Ann Lee runs the workshop.", "extension"),
        ("What is the phone number of Ann Lee?", "Ann Lee has office 12.", "phone number"),
        ("財務部的電話是多少？", "財務部在二樓。", "電話"),
    ],
)
def test_what_excludes_an_entity_is_no_answer(question: str, text: str, lacks: str) -> None:
    assert missing(question, text) == (lacks,)


@pytest.mark.parametrize(
    ("question", "text"),
    [
        ("Is it open on Wednesday?", "Open from Monday to Friday."),
        ("Is it open on Sunday?", "Open daily except Monday."),
        ("When does it open on Sunday?", "It opens at 9."),
        ("周三开门吗？", "周一至周五开门。"),
        ("What does it cost in July?", "From June to August it costs 5 euros."),
        ("How much do students pay?", "Students pay half of what adults pay."),
        ("How much do students pay?", "Entry is free."),
        ("May I bring a dog?", "In April, dogs may be brought."),
        ("特休幾天？", "年假五天。"),
        ("产假有几天？", "产假 158 天，陪产假 15 天。"),
        ("儿科在几楼？", "小兒科在三樓。"),
        ("Are you open on Wednesdays?", "Open Tuesday to Friday."),
        ("十分着急怎么办？", "打电话给前台。"),
        ("What is Ann Lee's extension?", "Ann Lee: 214"),
        ("What is the phone policy?", "Phones stay in the bag."),
        ("財務部的電話是多少？", "財務部：8021"),
        ("財務部的電話是多少？", "財務部的電話是六六三一。"),
    ],
)
def test_what_includes_an_entity_may_be_an_answer(question: str, text: str) -> None:
    assert missing(question, text) == ()


def test_a_word_inside_of_another_that_is_missing_is_not_named_twice() -> None:
    assert missing("四楼会议室能坐多少人？", "五楼的会议室可坐三十人。") == ("四楼",)


def test_the_line_beside_a_line_of_a_form_may_be_about_the_contrary() -> None:
    question, own = "What is the maximum length?", "Minimum length: 12"
    around = f"Limits\nMaximum upload: 25 MB\n{own}"
    required = entities(question)
    assert missing_entities(required, own, around, around, "Limits") == ("maximum",)
    assert missing_entities(required, own, around, around, "Maximum values") == ()
