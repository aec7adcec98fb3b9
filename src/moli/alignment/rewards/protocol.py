"""Rewards: anything that scores answers to prompts."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

from moli.alignment.rollouts.buffer import SampledAnswer, TrainingPrompt
from moli.records.errors import InputError


class Reward(Protocol):
    """Scores answers: larger is better. Any Python function with these two arguments is one.

    Args:
        prompts, answers: equally many; answers to one prompt stand side by side.

    Returns:
        A finite number for each answer.
    """

    def __call__(
        self, prompts: Sequence[TrainingPrompt], answers: Sequence[SampledAnswer], /
    ) -> Sequence[float]: ...


@runtime_checkable
class ReportingReward(Protocol):
    """A reward that has more to report of its last call.

    Attributes:
        metrics: values by name.
    """

    metrics: Mapping[str, float]


def score_answers(
    reward: Reward, prompts: Sequence[TrainingPrompt], answers: Sequence[SampledAnswer]
) -> list[float]:
    """The scores of answers, checked.

    Raises:
        InputError: there is not a score for each answer, or one is not a finite number.
    """
    name = getattr(reward, "__name__", type(reward).__name__)
    scores = [float(score) for score in reward(prompts, answers)]
    if len(scores) != len(answers):
        raise InputError(
            f"{len(scores)} scores for {len(answers)} answers",
            where=name,
            fix="Return one number for each answer, in the same order.",
        )
    for number, score in enumerate(scores, 1):
        if not math.isfinite(score):
            raise InputError(
                f"the score of answer {number} of {len(scores)} is {score}",
                where=name,
                fix="Return a finite number for every answer, 0 where there is nothing to score.",
            )
    return scores
