"""Rewards: anything that scores answers to prompts."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol, runtime_checkable

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
    where = getattr(reward, "place", "") or getattr(reward, "__name__", type(reward).__name__)
    returned: Any = reward(prompts, answers)
    if isinstance(returned, str | Mapping) or not isinstance(returned, Iterable):
        raise InputError(
            f"the reward returned {reprlib.repr(returned)}, not a list of numbers",
            where=where,
            fix="Return one number for each answer, in the same order.",
        )
    scores = list(returned)
    if len(scores) != len(answers):
        raise InputError(
            f"{len(scores)} scores for {len(answers)} answers",
            where=where,
            fix="Return one number for each answer, in the same order.",
        )
    numbers = [_finite_or_none(score) for score in scores]
    if None in numbers:
        first = numbers.index(None)
        raise InputError(
            f"the score of answer {first + 1} of {len(scores)} is {reprlib.repr(scores[first])}",
            where=where,
            fix="Return a finite number for every answer, 0 where there is nothing to score.",
        )
    return [number for number in numbers if number is not None]


def _finite_or_none(score: Any) -> float | None:
    """A score as a finite number; None if it is none."""
    try:
        number = float(score)
    except (TypeError, ValueError):
        return None
    return number if math.isfinite(number) else None
