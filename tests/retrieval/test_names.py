"""Names in questions, and texts that have them in the same or in another form."""

from __future__ import annotations

import pytest

from moli.retrieval.names import is_about_name, names_in


def is_about(question: str, text: str, passage: str = "") -> bool:
    (name,) = names_in(question)
    return is_about_name(name.form, name.head, text, passage or text)


@pytest.mark.parametrize(
    ("question", "names"),
    [
        ("Where does Anna Schmidt work?", [("Anna Schmidt", "anna schmidt", "work")]),
        ("Who runs the Hamburg branch?", [("Hamburg", "hamburg", "branch")]),
        ("Who runs the Bank of America?", [("America", "america", "")]),
        ("What is President Obama's age?", [("Obama's", "obama", "age")]),
        ("When does the Bus leave?", []),  # generic
        ("Where is it?", []),  # the first word of a sentence
        ("What Is The Maximum Load Of The Bridge?", []),  # a headline
        ("上海分公司在哪里？", [("上海", "上海", "分公司")]),
        ("iPhone 多少钱？", [("iPhone", "iphone", "")]),
    ],
)
def test_names_of_questions(question: str, names: list[tuple[str, str, str]]) -> None:
    assert [(name.text, name.form, name.head) for name in names_in(question)] == names


@pytest.mark.parametrize(
    ("question", "text", "other"),
    [
        ("Where is Anna Schmidt?", "Schmidt is in Rome.", "Peter Schmidt is in Rome."),
        ("Where is Barack Obama?", "Barack is here.", "Barack Smith is here."),
        ("What did the UN do?", "The United Nations met.", "The Union met."),
        ("What did the United Nations do?", "The UN met.", "The EU met."),
        ("Which Nigerian won?", "Nigeria won.", "Ghana won."),
        ("Which country did Britain conquer?", "The British came.", "The French came."),
        ("What did the Portuguese find?", "Portugal found land.", "Spain found land."),
        ("Which British schools are free?", "Schools in the UK are.", "Schools in Oman are."),
        ("What does the United States do?", "The U.S. trades.", "The U.N. meets."),
        ("What do Lutheran Churches say?", "A Lutheran Church said no.", "A Greek Church said no."),
        ("黑尾前肛鳗吃什么？", "肛鳗吃小鱼。", "本鱼吃小鱼。"),
    ],
)
def test_a_name_may_be_written_otherwise(question: str, text: str, other: str) -> None:
    assert is_about(question, text)
    assert not is_about(question, other)


@pytest.mark.parametrize(
    ("question", "rival", "text"),
    [
        ("Who runs the Hamburg branch?", "Ann runs the Bremen branch.", "Ann runs the branch."),
        ("上海分公司在哪里？", "北京分公司在二楼。", "该分公司在二楼。"),
    ],
)
def test_a_name_elsewhere_in_the_passage_counts_without_a_rival(
    question: str, rival: str, text: str
) -> None:
    passage = "Hamburg 上海: "
    assert not is_about(question, rival, passage + rival)
    assert is_about(question, text, passage + text)


def test_an_acronym_with_a_mark_is_spelled_out() -> None:
    assert is_about_name(
        "v&a", "", "It opened in 1852.", "The Victoria and Albert Museum. It opened."
    )


@pytest.mark.parametrize(
    ("form", "text"), [("asian", "Asia"), ("saharan", "the Sahara"), ("russia", "Russian")]
)
def test_short_countries_and_their_people_are_one_name(form: str, text: str) -> None:
    assert is_about_name(form, "", text, text)
