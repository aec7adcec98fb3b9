"""A check of the answers to a user's own questions, whose right answers are known.

It answers each question as `moli ask` would, and leaves no traces: nobody has asked.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from moli.metrics.answers import contains_answer
from moli.metrics.calibration import expected_calibration_error
from moli.metrics.selective import (
    CoveragePoint,
    fewest_answers,
    guaranteed_point,
    risk_coverage,
)
from moli.metrics.statistics import clopper_pearson_bound
from moli.models.protocols.chat import ChatModel
from moli.records.answers import Answer, Sentence
from moli.records.examples import MalformedRow
from moli.retrieval.answer import Answerer
from moli.retrieval.questions import CheckQuestion
from moli.retrieval.search import Retriever
from moli.retrieval.tokens import fold
from moli.workspace import Workspace
from moli.workspace.filter import Filter

# What became of a question. A closest sentence that is shown has the right answer or has not. A
# refusal is right if the documents do not contain an answer.
Outcome = Literal[
    "right", "wrong", "unsure_right", "unsure_wrong", "refused_rightly", "refused_wrongly"
]
OUTCOMES: tuple[Outcome, ...] = get_args(Outcome)
_BINS = 10


@dataclass(frozen=True, slots=True)
class CheckedQuestion:
    """A question, and what was answered.

    Attributes:
        where: the question's file and line.
        expected: the right answers; empty if the documents do not contain one.
        best: the answer or the closest sentence, whether it would be shown or not; may be empty.
        source: the document that `best` is from.
        confidence: the estimated probability that there is an answer.
        right: whether `best` has a right answer.
    """

    where: str
    question: str
    expected: tuple[str, ...]
    outcome: Outcome
    best: str
    source: str
    confidence: float
    right: bool


@dataclass(frozen=True, slots=True)
class AnswerCheck:
    """The quality of the answers to a set of questions.

    Attributes:
        counts: number of questions by what became of them.
        confidence, unsure: the thresholds of the workspace.
        answers, wrong: number of answers at these, and of those that are wrong.
        bound: the share of wrong answers is at most this, with a probability of 95 %.
        calibration_error: mean gap between confidence and the share of right answers, in ten bins.
        curve: for every threshold, how many answers are given and how many of them are wrong.
        risk: the share of wrong answers that was asked for.
        suggested: the threshold with the most answers that keeps to it with a probability of 95 %;
            None if the questions show none.
        needed: the fewest answers, all right, that could show one.
        malformed: rows of the file that are no questions.
    """

    questions: tuple[CheckedQuestion, ...]
    counts: dict[Outcome, int]
    confidence: float
    unsure: float
    answers: int
    wrong: int
    bound: float
    calibration_error: float
    curve: tuple[CoveragePoint, ...]
    risk: float
    suggested: CoveragePoint | None
    needed: int
    malformed: tuple[MalformedRow, ...] = ()


def check_answers(
    workspace: Workspace,
    retriever: Retriever,
    questions: Sequence[CheckQuestion],
    chat: ChatModel | None = None,
    visible: Filter | None = None,
    *,
    risk: float = 0.05,
    on_progress: Callable[[int], None] | None = None,
) -> AnswerCheck:
    """Answer questions and compare the answers with the right ones.

    Args:
        chat: the language model that answers; None for answers made of quotes.
        visible: the documents that may be used; None for those of the settings' groups.
        risk: the share of wrong answers for which to suggest a threshold.
        on_progress: called after each question with the number of those that are done.

    Raises:
        InputError: there are no questions, or one of them is too long.
        ModelError: the language model did not answer.
    """
    settings = workspace.settings
    # The closest sentence of every question is looked at, also of those that are refused.
    all_shown = settings.model_copy(update={"unsure": 0.0})
    answerer = Answerer(workspace, retriever, chat, settings=all_shown, keeps_traces=False)
    checked = []
    for number, question in enumerate(questions, 1):
        answer = answerer.ask(question.text, visible)
        checked.append(_checked(question, answer, settings.unsure))
        if on_progress:
            on_progress(number)
    counts = Counter(each.outcome for each in checked)
    confidences = [each.confidence for each in checked]
    right = [each.right for each in checked]
    curve = risk_coverage(confidences, right)
    answers, wrong = counts["right"] + counts["wrong"], counts["wrong"]
    return AnswerCheck(
        questions=tuple(checked),
        counts={outcome: counts[outcome] for outcome in OUTCOMES},
        confidence=settings.confidence,
        unsure=settings.unsure,
        answers=answers,
        wrong=wrong,
        bound=clopper_pearson_bound(wrong, answers) if answers else 1.0,
        calibration_error=expected_calibration_error(np.array(confidences), np.array(right), _BINS),
        curve=tuple(curve),
        risk=risk,
        suggested=guaranteed_point(curve, risk),
        needed=fewest_answers(risk),
    )


def _checked(question: CheckQuestion, answer: Answer, unsure: float) -> CheckedQuestion:
    """A question with what became of it.

    Args:
        answer: the answer, with the closest sentence however unlikely it is.
        unsure: the threshold from which on the closest sentence would be shown.
    """
    shown = [sentence for sentence in answer.sentences if sentence.supported]
    shown += [answer.closest] if answer.closest else []
    right = bool(question.answers) and any(_is_right(each, question.answers) for each in shown)
    citations = [citation for sentence in shown for citation in sentence.citations]
    return CheckedQuestion(
        where=question.where,
        question=question.text,
        expected=question.answers,
        outcome=_outcome(answer, question, unsure, right=right),
        best=" ".join(sentence.text for sentence in shown),
        source=citations[0].source if citations else "",
        confidence=answer.confidence,
        right=right,
    )


def _outcome(answer: Answer, question: CheckQuestion, unsure: float, *, right: bool) -> Outcome:
    """The outcome for a question."""
    if answer.answered:
        return "right" if right else "wrong"
    if answer.closest and answer.confidence >= unsure:
        return "unsure_right" if right else "unsure_wrong"
    return "refused_wrongly" if question.answers else "refused_rightly"


def _is_right(sentence: Sentence, expected: Sequence[str]) -> bool:
    """Whether a sentence, or a quote that supports it, has one of the right answers."""
    texts = (sentence.text, *(citation.quote for citation in sentence.citations))
    folded = [fold(answer) for answer in expected]
    return any(contains_answer(fold(text), folded) for text in texts)
