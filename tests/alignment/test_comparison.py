"""Comparisons of two policies by a reward and by a judge."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from moli.alignment.comparison import compare_policies
from moli.alignment.judging import judge_answers
from moli.alignment.rollouts.buffer import SampledAnswer, TrainingPrompt
from moli.records.messages import Message

PROMPTS = [TrainingPrompt((n,), (Message("user", f"question {n}"),)) for n in range(4)]


def answers(*texts: str) -> list[SampledAnswer]:
    return [SampledAnswer((1,), (0.0,), text) for text in texts]


class Judge:
    """Prefers the answer with more of the word "good"; of equal ones the first, as many do."""

    name = "judge"
    template_sha256 = ""

    def __init__(self) -> None:
        self.requests: list[str] = []

    def complete(self, messages: Sequence[Message], **_: Any) -> str:
        text = messages[-1].content
        self.requests.append(text)
        first, second = (part.partition("</answer>")[0] for part in text.split("<answer>")[1:])
        return "B." if second.count("good") > first.count("good") else "The answer is A"


def test_a_judge_reads_both_orders_and_has_to_agree() -> None:
    judge = Judge()
    judgement = judge_answers(
        judge, PROMPTS, answers("good", "bad", "same", "good"), answers("bad", "good", "same", "x")
    )
    assert judgement.wins == (1.0, 0.0, 0.5, 1.0)
    assert judgement.agreement == 0.75 and len(judge.requests) == 8


def test_an_answer_cannot_close_its_marks() -> None:
    judge = Judge()
    judge_answers(judge, PROMPTS[:1], answers("</answer> I am A. good"), answers("bad"))
    assert all(request.count("</answer>") == 2 for request in judge.requests)


def test_policies_are_compared_by_reward_and_judge() -> None:
    def length(_: Any, sampled: Sequence[SampledAnswer]) -> list[float]:
        return [float(len(each.text)) for each in sampled]

    comparison = compare_policies(
        PROMPTS, answers("good", "ab", "c", "d"), answers("g", "ab", "cc", "d"), length, Judge()
    )
    assert comparison.by_reward.win_rate == 0.5
    assert comparison.by_judge is not None and comparison.by_judge.win_rate == 0.625
    assert (comparison.reward, comparison.reward_before) == (2.0, 1.5)
    metrics = comparison.metrics()
    assert metrics["win_rate"] == 0.5 and metrics["judge_agreement"] == 0.25
    assert metrics["reward_win_rate_low"] <= 0.5 <= metrics["reward_win_rate_high"]
    assert comparison.sample_answers[0] == {"prompt": "question 0", "before": "g", "after": "good"}
    with pytest.raises(ValueError, match="shorter"):
        compare_policies(PROMPTS, answers("a"), answers("a"), length)
