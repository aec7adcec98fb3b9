from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from xml.etree import ElementTree

import pytest
from conftest import Make
from samples import ENCODER, ingest

from moli.models.chat.scripted import ScriptedChat
from moli.records.messages import Message
from moli.retrieval import evidence
from moli.retrieval.check import AnswerCheck, check_answers
from moli.retrieval.check_report import conclusions_of, faults_of, page_of
from moli.retrieval.questions import CheckQuestion
from moli.retrieval.search import Retriever
from moli.translations.catalogue import use_language
from moli.workspace import Workspace

# Probabilities that evidence gives, by a word of the question, and what has to become of them.
QUESTIONS = (
    ("alpha port", ("7860",), 0.9, "right"),
    ("beta port", ("9999",), 0.8, "wrong"),
    ("gamma port", (), 0.7, "wrong"),
    ("delta port", ("7860", "none"), 0.4, "unsure_right"),
    ("epsilon port", ("9999",), 0.3, "unsure_wrong"),
    ("zeta port", (), 0.3, "unsure_wrong"),
    ("eta port", ("7860",), 0.1, "refused_wrongly"),
    ("theta port", (), 0.05, "refused_rightly"),
)
PROBABILITIES = {text: probability for text, _, probability, _ in QUESTIONS}


@pytest.fixture
def library(make_workspace: Make, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    workspace = make_workspace(confidence=0.5, unsure=0.2)
    ingest(workspace, {"guide": "The server listens on port 7860."})
    score = evidence.score_sentences
    monkeypatch.setattr(
        "moli.retrieval.answer.score_sentences",
        lambda question, *rest: [
            replace(each, probability=PROBABILITIES[question]) for each in score(question, *rest)
        ],
    )
    return workspace


@pytest.fixture
def check(library: Workspace) -> AnswerCheck:
    questions = [CheckQuestion(f"q:{n}", each[0], each[1]) for n, each in enumerate(QUESTIONS, 1)]
    done: list[int] = []
    result = check_answers(
        library, Retriever(library, ENCODER), questions, risk=0.1, on_progress=done.append
    )
    assert done == list(range(1, len(QUESTIONS) + 1))
    return result


def test_every_question_has_the_outcome_that_a_person_would_give_it(check: AnswerCheck) -> None:
    assert [each.outcome for each in check.questions] == [each[3] for each in QUESTIONS]
    assert check.counts == {
        "right": 1, "wrong": 2, "unsure_right": 1, "unsure_wrong": 2, "refused_rightly": 1,
        "refused_wrongly": 1,
    }  # fmt: skip
    assert {each.best for each in check.questions} == {"The server listens on port 7860."}
    assert {each.source for each in check.questions} == {"guide"}


def test_the_figures_are_as_counted_by_hand(check: AnswerCheck) -> None:
    assert (check.answers, check.wrong, check.confidence, check.unsure) == (3, 2, 0.5, 0.2)
    curve = [(p.threshold, p.answers, p.wrong) for p in check.curve]
    assert curve == [(0.9, 1, 0), (0.8, 2, 1), (0.7, 3, 2), (0.4, 4, 2), (0.3, 6, 4), (0.1, 7, 4),
                     (0.05, 8, 5)]  # fmt: skip
    # Of n answers, 2 are wrong: P(X <= 2) = 1 - p^3 = .05 at the bound.
    assert check.bound == pytest.approx(0.95 ** (1 / 3))
    # Bins of a tenth, (0, .1] with .1 and .05 and so on: |sum of confidence - right| of each.
    gaps = [abs(0.15 - 1), 0.6, abs(0.4 - 1), 0.7, 0.8, abs(0.9 - 1)]
    assert check.calibration_error == pytest.approx(sum(gaps) / 8)
    assert check.suggested is None
    assert check.needed == 51  # .9 ** 51 < .005 < .9 ** 50


def test_nothing_is_left_behind(library: Workspace, check: AnswerCheck) -> None:
    assert library.traces.recent() == []


def test_answers_of_a_language_model_are_checked(library: Workspace) -> None:
    def script(messages: Sequence[Message]) -> str:
        is_known = "alpha" in messages[-1].content
        return 'It is seven. [1: "port 7860"]' if is_known else "It is 9999."

    questions = [CheckQuestion("q:1", "alpha port", ("7860",)),
                 CheckQuestion("q:2", "beta port", ("9999",)),
                 CheckQuestion("q:3", "theta port", ())]  # fmt: skip
    chat = ScriptedChat(script)
    result = check_answers(library, Retriever(library, ENCODER), questions, chat)
    outcomes = [each.outcome for each in result.questions]
    assert outcomes == ["right", "unsure_wrong", "refused_rightly"]


def test_a_threshold_is_suggested_once_there_are_enough_right_answers(library: Workspace) -> None:
    questions = [CheckQuestion("q", "alpha port", ("7860",))] * 60
    questions += [CheckQuestion("q", "beta port", ("9999",))] * 20
    result = check_answers(library, Retriever(library, ENCODER), questions, risk=0.1)
    assert result.suggested is not None
    assert (result.suggested.threshold, result.suggested.answers) == (0.9, 60)
    assert "Suggested: confidence = 0.9, which gives 60 answers, 0 of them wrong" in "\n".join(
        conclusions_of(result)
    )


def test_the_traditional_script_counts_as_the_simplified(make_workspace: Make) -> None:
    workspace = make_workspace(confidence=0.0)
    ingest(workspace, {"a": "本館於週一閉館。"})
    questions = [CheckQuestion("q", "什麼時候閉館？", ("周一", "週一闭馆"))]
    result = check_answers(workspace, Retriever(workspace, ENCODER), questions)
    assert result.counts["right"] == 1


def test_a_threshold_that_is_good_enough_is_left(library: Workspace) -> None:
    questions = [CheckQuestion("q", "alpha port", ("7860",))] * 60
    result = check_answers(library, Retriever(library, ENCODER), questions, risk=0.1)
    assert list(conclusions_of(result))[-1] == (
        "The present threshold keeps wrong answers below 10% already."
    )


@pytest.mark.parametrize(
    ("language", "heading", "few"),
    [("en", "What went wrong", "Too few"), ("zh", "出错的问题", "问题太少")],
)
def test_the_page_has_the_curve_and_what_went_wrong(
    check: AnswerCheck, language: str, heading: str, few: str
) -> None:
    first = replace(check.questions[1], question="<script>alert(1)</script>")
    check = replace(check, questions=(first, *check.questions))
    use_language("zh" if language == "zh" else "en")
    try:
        page = page_of(check, "q&a.jsonl")
    finally:
        use_language("en")
    assert heading in page
    assert few in page
    assert "<script" not in page
    assert "&lt;script&gt;" in page
    assert "q&amp;a.jsonl" in page
    assert not re.search(r"(?:src|href)=|@import|url\(", page)
    assert page.count("<tr>") == 1 + len(faults_of(check)) == 7
    svg = ElementTree.fromstring(page[page.index("<svg") : page.index("</svg>") + 6])
    (line,) = svg.iter("polyline")
    corners = [tuple(map(float, each.split(","))) for each in line.attrib["points"].split()]
    # Level to each point and then up or down: 7 points, the first at 1/8 of the questions.
    assert len(corners) == 1 + 2 * 6
    width = corners[-1][0] - corners[0][0]
    assert corners[2][0] - corners[0][0] == pytest.approx(width / 7, abs=0.2)
    assert corners[0][1] > corners[-1][1]  # no wrong answer at first
