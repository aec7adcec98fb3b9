from __future__ import annotations

import pytest
from conftest import Make
from samples import ENCODER, hit_of, ingest

from moli.models.chat.scripted import ScriptedChat
from moli.retrieval.answer import Answerer
from moli.retrieval.evidence import ScoredSentence
from moli.retrieval.search import Retriever
from moli.retrieval.versions import other_versions

Place = tuple[str, str]  # the document's name and the sentence


def scored(place: Place, number: int, probability: float = 0.9) -> ScoredSentence:
    source, text = place
    hit = hit_of(text, source, document_id=number, title=source.rpartition(".")[0], heading="")
    return ScoredSentence(hit, hit.start, hit.start + len(text), probability)


def others_of(question: str, *places: Place, probability: float = 0.9) -> list[str]:
    """The sentences that disagree with the first one."""
    best = scored(places[0], 1)
    others = [scored(each, number, probability) for number, each in enumerate(places[1:], 2)]
    chosen = other_versions(question, best, [best, *others], unsure=0.1, confidence=0.5)
    return [each.text for each in chosen]


@pytest.mark.parametrize(
    ("question", "first", "second"),
    [
        # One figure differs, whatever the documents are called.
        ("How long may goods be returned?", ("terms.md", "Goods may be returned within 30 days."),
         ("faq.md", "Goods may be returned within 14 days.")),
        ("How long may goods be returned?", ("terms.md", "Goods may be returned within 30 days."),
         ("faq.md", "Goods may be returned within fourteen days.")),
        ("How much is it?", ("a.md", "The fee is 1,200 euros."),
         ("b.md", "The fee is 1,300 euros.")),
        ("How long is it?", ("a.md", "___ It takes 2 _days_."), ("b.md", "It takes 3 days.")),
        ("When do we meet?", ("a.md", "We meet on Monday."), ("b.md", "We meet on Friday.")),
        ("保修期多长？", ("说明.txt", "保修期为十八个月。"), ("常见问题.txt", "保修期为24个月。")),
        ("公司哪年成立？", ("简介.txt", "公司成立于1998年。"), ("网站.txt", "公司成立于1999年。")),
        ("保固多久？", ("說明.txt", "保固一年。"), ("問答.txt", "保固兩年。")),
        # Versions of a document say it in other words.
        ("How long may goods be returned?",
         ("terms-2023.md", "Goods may be returned within 30 days."),
         ("terms-2024.md", "Since March, returns are accepted for 14 days.")),
        ("Who leads sales?", ("Org chart v1.docx", "Anna Schmidt leads the sales team."),
         ("Org chart v2.docx", "Jonas Weber leads the sales team.")),
        ("谁负责销售？", ("组织结构2023版.docx", "销售部由张伟负责。"),
         ("组织结构2024版.docx", "销售部由李娜负责。")),
        # One says that it was changed.
        ("海豚表的单价是多少？", ("销售.md", "产品: 海豚表; 一季度: 90; 单价: 460元"),
         ("通知.md", "自三月起，海豚表的单价改为 520 元。")),
        ("What does the ticket cost?", ("prices.md", "Item: ticket; Cost: 8 euros"),
         ("minutes.md", "In May the cost of a ticket is raised to 9 euros.")),
        ("年假几天？", ("员工手册（2023年）.md", "年假为五天。"),
         ("员工手册（2024年）.md", "入职满一年的员工每年有10天年假。")),
    ],
)  # fmt: skip
def test_sentences_that_disagree_are_found_from_either_side(
    question: str, first: Place, second: Place
) -> None:
    assert others_of(question, first, second) == [second[1]]
    assert others_of(question, second, first) == [first[1]]


@pytest.mark.parametrize(
    ("question", "first", "second"),
    [
        # The same, once more.
        ("How long?", ("terms-2023.md", "Returns within 30 days."),
         ("terms-2024.md", "Returns within 30 days.")),
        ("How long?", ("a.md", "Returns within 30 days."), ("b.md", "Returns within thirty days")),
        ("多久？", ("a.txt", "保修期十八个月。"), ("b.txt", "保修期18个月。")),
        # More of the same.
        ("How long?", ("terms-2023.md", "Returns within 30 days."),
         ("terms-2024.md", "Returns within 30 days, and 60 days for members.")),
        # On something else that the question does not ask about.
        ("What does bridge B6 carry?", ("a.md", "Bridge B6 carries 40 tonnes."),
         ("b.md", "Bridge B7 carries 30 tonnes.")),
        ("How many seats has room 12?", ("a.md", "Room 12 has 30 seats."),
         ("b.md", "Room 14 has 20 seats.")),
        ("How many desks has Berlin?", ("berlin.md", "The office has 30 desks."),
         ("paris.md", "The office has 20 desks.")),
        ("What was the notice period in 2023?", ("terms-2023.md", "The notice period is 30 days."),
         ("terms-2024.md", "The notice period is 14 days.")),
        ("柏林有多少张桌子？", ("柏林.txt", "办公室有30张桌子。"),
         ("巴黎.txt", "办公室有20张桌子。")),
        # The change is of something else.
        ("What does the ticket cost?", ("prices.md", "Item: ticket; Cost: 8 euros"),
         ("minutes.md", "The fee of a locker is raised to 9 euros.")),
        # Other words in documents that have nothing to do with each other.
        ("Who leads sales?", ("chart.md", "Anna Schmidt leads the sales team."),
         ("news.md", "Jonas Weber leads the sales team.")),
    ],
)  # fmt: skip
def test_sentences_that_agree_or_are_on_other_things_are_no_rivals(
    question: str, first: Place, second: Place
) -> None:
    assert others_of(question, first, second) == []


def test_a_document_that_repeats_the_best_sentence_agrees_whatever_else_it_says() -> None:
    question, best = "How long is leave?", ("a-2023.md", "Leave is 30 days.")
    other = [scored(("a-2024.md", text), 2) for text in ("Leave is 25 days.", "Leave is 30 days.")]
    first = scored(best, 1)
    assert other_versions(question, first, [first, *other], unsure=0.1, confidence=0.5) == []


def test_a_version_is_judged_by_its_likeliest_sentence() -> None:
    first = scored(("a-2023.md", "Leave is 30 days."), 1)
    texts = ("You get 30 days of leave.", "Sick leave is 10 days at most.")
    other = [scored(("a-2024.md", text), 2, 0.8) for text in texts]
    question = "How long is leave?"
    assert other_versions(question, first, [first, *other], unsure=0.1, confidence=0.5) == []


def test_a_version_that_would_not_answer_is_no_rival() -> None:
    places = ("a-2023.md", "Leave is 30 days."), ("a-2024.md", "Sick notes are kept 10 years.")
    assert others_of("How long is leave?", *places, probability=0.4) == []


@pytest.mark.parametrize(
    ("names", "texts", "question", "heading"),
    [
        (("terms-2023.md", "terms-2024.md"),
         ("Goods may be returned within 30 days.", "Goods may be returned within 14 days."),
         "Within how many days may goods be returned?", "Your documents differ on this:"),
        (("条款2023.txt", "条款2024.txt"), ("商品可在30天内退货。", "商品可在14天内退货。"),
         "商品多少天内可以退货？", "文档中的说法不一致："),
    ],
)  # fmt: skip
def test_an_answer_shows_the_versions_that_disagree_with_their_dates_the_newest_first(
    make_workspace: Make,
    names: tuple[str, str],
    texts: tuple[str, str],
    question: str,
    heading: str,
) -> None:
    workspace = make_workspace(confidence=0.0)
    ingest(workspace, dict(zip(names, texts, strict=True)))
    old, new = texts
    answer = Answerer(workspace, Retriever(workspace, ENCODER)).ask(question)
    assert (answer.tier, answer.conflict) == ("answered", True)
    assert [each.text for each in answer.sentences] == [new, old]
    assert [each.citations[0].date for each in answer.sentences] == ["2024", "2023"]
    assert answer.text == f"{heading} “{new}” ({names[1]}, 2024) “{old}” ({names[0]}, 2023)"
    assert workspace.traces.get(answer.trace_id).conflict
    # A language model that quotes one version does not hide the other.
    chat = ScriptedChat(f'So it is. [1: "{old[:-1]}"]')
    written = Answerer(workspace, Retriever(workspace, ENCODER), chat).ask(question)
    assert written.conflict
    assert [each.citations[0].date for each in written.sentences] == ["2024", "2023"]
    assert {each.text for each in written.sentences} == {"So it is.", new}


def test_the_same_sentence_in_two_files_is_one_answer(make_workspace: Make) -> None:
    workspace = make_workspace(confidence=0.0)
    text = "Goods may be returned within 30 days."
    ingest(workspace, {"terms-2023.md": text, "terms-2024.md": text})
    question = "Within how many days may goods be returned?"
    answer = Answerer(workspace, Retriever(workspace, ENCODER)).ask(question)
    assert (answer.conflict, answer.text) == (False, text)
