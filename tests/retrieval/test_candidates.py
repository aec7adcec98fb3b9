"""Which pieces of a text may be an answer, and how a row of a table reads."""

from __future__ import annotations

import pytest
from samples import hit_of

from moli.records.documents import Heading
from moli.retrieval.candidates import MAX_CHARACTERS, Candidate, candidates, states_a_fact


def candidates_of(text: str, *headings: str, title: str = "", above: str = "") -> list[Candidate]:
    hit = hit_of(text, "a.md", document_id=1, title=title, heading=above)
    marks = tuple(Heading(text.index(each), 1, each) for each in headings)
    return candidates([hit], {1: marks})


def readings(text: str, *headings: str, above: str = "") -> list[str]:
    return [each.reading for each in candidates_of(text, *headings, above=above)]


def test_every_candidate_stands_in_its_passage() -> None:
    text = (
        "Rules\n\nOpen daily. Closed in May.\n- one\n- two\n\nA | B\nx | 1\ny | 2\n\nTel: 1\nFax: 2"
    )
    for each in candidates_of(text, "Rules"):
        assert text[each.start : each.end].strip()
        if not each.is_record:
            assert text[each.start : each.end] in each.reading


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "Part | Stock\nK010 | 31\nK095 | 4",
            ["Part: K010; Stock: 31", "Part: K095; Stock: 4"],
        ),
        (
            "姓名 | 分机\n陈晓 | 8801\n李明 | 8802",
            ["姓名: 陈晓; 分机: 8801", "姓名: 李明; 分机: 8802"],
        ),
        # All words: the first row names the columns.
        ("Role | Person\nDirector | Anna\nClerk | Bob", ["Role: Director; Person: Anna",
                                                        "Role: Clerk; Person: Bob"]),
        # The first row has a number where the others have: there is no header.
        ("Height | 12 m\nWidth | 4 m", ["Height; 12 m", "Width; 4 m"]),
        # A blank cell is not read.
        ("Type | Power | Mass\nA | 5 W | 2 kg\nB |  | 3 kg", ["Type: A; Power: 5 W; Mass: 2 kg",
                                                             "Type: B; Mass: 3 kg"]),
    ],
)  # fmt: skip
def test_rows_read_with_the_names_of_their_columns(text: str, expected: list[str]) -> None:
    assert readings(text) == expected


def test_a_passage_inside_of_a_table_has_its_header_in_the_heading() -> None:
    assert readings("P-0188 | 300\nP-0250 | 500", above="Policies > Policy | Deductible") == [
        "Policy: P-0188; Deductible: 300",
        "Policy: P-0250; Deductible: 500",
    ]


def test_lines_of_a_form_are_candidates_with_the_form_around_them() -> None:
    first, second = candidates_of("Branch: Bremen\nPhone: 0421 17")
    assert (first.reading, second.reading) == ("Branch: Bremen", "Phone: 0421 17")
    assert "Branch: Bremen" in second.around
    assert second.is_record


@pytest.mark.parametrize(
    "question", ["Can I pay by cheque?", "Q: Can I pay by cheque?", "能用支票吗？"]
)
def test_an_answer_below_its_question_reads_with_it(question: str) -> None:
    for gap in ("\n", "\n\n"):
        assert readings(f"{question}{gap}No.") == [f"{question} No."]


def test_a_question_of_two_sentences_is_no_candidate() -> None:
    text = "I lost my key. What now?\nA new one costs 25 pounds."
    assert readings(text) == ["I lost my key. What now? A new one costs 25 pounds."]


def test_an_introduction_holds_its_list() -> None:
    text = "The kit contains the following tools:\n- a torch\n- a whistle\n\nIt is red."
    assert readings(text)[0] == "The kit contains the following tools:\n- a torch\n- a whistle"
    text = "应急包里有：\n\n- 手电\n- 口哨"
    assert readings(text)[0] == text


def test_lines_of_a_list_and_short_lines_stand_alone() -> None:
    assert readings("1. Press the button.\n2. Wait.\n3. Read the gauge.") == [
        "1. Press the button.", "2. Wait.", "3. Read the gauge.",
    ]  # fmt: skip
    assert readings("保安室 300\n前台 301") == ["保安室 300", "前台 301"]


def test_wrapped_lines_are_one_text() -> None:
    text = (
        "The spare keys for the cellar, the attic and the laundry are kept in\n"
        "the porter's lodge, next to the door of the big hall, in the box."
    )
    assert readings(text) == [text]


def test_a_long_sentence_is_cut_between_clauses() -> None:
    clauses = [f"clause {number} says that part {number} is due" for number in range(60)]
    pieces = readings("; ".join(clauses) + ".")
    assert len(pieces) > 1
    assert all(len(piece) <= MAX_CHARACTERS for piece in pieces)
    assert all(any(clause in piece for piece in pieces) for clause in clauses)


def test_a_bare_heading_is_no_candidate_and_a_telling_one_is() -> None:
    text = "Stock\n\nThere are 3 left.\n\nSupport costs fell by 18 percent in 2025\n\nSee below."
    headings = ("Stock", "Support costs fell by 18 percent in 2025")
    assert readings(text, *headings) == [
        "There are 3 left.", "Support costs fell by 18 percent in 2025", "See below.",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("heading", "is_fact"),
    [
        ("Support costs fell by 18 percent in 2025", True),
        ("The office is closed on Fridays", True),
        ("2025 年客服成本下降 18%", True),
        ("展会推迟到十月举行", True),
        ("Delivery times and costs by region", False),
        ("How to restart the exporter", False),
        ("What is covered?", False),
        ("Corrin 24S combi boiler: short guide for tenants", False),
        ("请假与加班管理办法", False),
        ("如何申请出差补贴", False),
    ],
)
def test_a_heading_states_a_fact_if_it_is_a_sentence(heading: str, is_fact: bool) -> None:
    assert states_a_fact(heading) is is_fact


def test_title_and_headings_are_around_each_candidate() -> None:
    (one,) = candidates_of("Fees\n\nIt costs 5 euros.", "Fees", title="Pool")
    assert one.path == "Pool\nFees"
    assert one.in_context == "Pool\nFees\nIt costs 5 euros."


def test_questions_with_their_answers_are_no_form() -> None:
    assert readings("Q: May I pay by cheque?\nA: No.\nQ: When?\nA: At noon.") == [
        "Q: May I pay by cheque? A: No.",
        "Q: When? A: At noon.",
    ]


@pytest.mark.parametrize(
    ("text", "named", "line"),
    [
        (
            "设备名称：车床\n编号：EQ-22\n净重：23 公斤",
            "设备名称：车床\n编号：EQ-22",
            "净重：23 公斤",
        ),
        ("Model: GA37\nWeight: 860 kg\nPower: 37 kW", "Model: GA37", "Power: 37 kW"),
    ],
)
def test_a_line_of_a_form_reads_in_context_with_the_lines_that_name_its_subject(
    text: str, named: str, line: str
) -> None:
    found = candidates_of(text, title="Form")
    above, _, reading = found[-1].in_context.rpartition("\n")
    assert (above.strip(), reading) == (f"Form\n{named}", line)
    assert [each.reading for each in found if each.subject_name] == named.splitlines()


def test_the_next_record_of_a_form_has_a_subject_of_its_own() -> None:
    found = candidates_of("Name: Ann\nExt: 4417\nName: Bob\nExt: 4418")
    assert [each.subject for each in found] == ["", "Name: Ann", "", "Name: Bob"]
    assert candidates_of("Reception: 4417\nWorkshop: 4418")[1].subject == ""


def test_a_row_of_a_table_is_no_line_that_names_a_subject() -> None:
    assert not any(each.subject_name for each in candidates_of("Name | Ext\nAnn | 17\nBob | 18"))
