"""Metrics of selective prediction: how often answers are wrong if only the surest are given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from moli.metrics.checks import check_predictions
from moli.metrics.statistics import clopper_pearson_bound

_TRIED = 10  # thresholds


@dataclass(frozen=True, slots=True)
class CoveragePoint:
    """The answers that are given at a threshold.

    Attributes:
        threshold: the lowest confidence of an answer that is given.
        answers: number of answers given.
        wrong: number of these that are wrong.
        coverage: share of the questions that are answered.
    """

    threshold: float
    answers: int
    wrong: int
    coverage: float

    @property
    def risk(self) -> float:
        """The share of the answers that are wrong."""
        return self.wrong / self.answers


def risk_coverage(confidences: Sequence[float], right: Sequence[bool]) -> list[CoveragePoint]:
    """The risk-coverage curve (El-Yaniv & Wiener 2010): a point for each confidence, highest first.

    Args:
        confidences: one of the best answer to each question.
        right: whether that answer is right.

    Raises:
        InputError: there is no question, or the lengths differ.
    """
    check_predictions(right, confidences)
    ordered = sorted(zip(confidences, right, strict=True), key=lambda pair: -pair[0])
    points: list[CoveragePoint] = []
    wrong = 0
    for answers, (confidence, is_right) in enumerate(ordered, 1):
        wrong += not is_right
        point = CoveragePoint(confidence, answers, wrong, answers / len(ordered))
        if points and points[-1].threshold == confidence:
            points.pop()  # equal confidences are answered together
        points.append(point)
    return points


def guaranteed_point(
    points: Sequence[CoveragePoint], risk: float, level: float = 0.95
) -> CoveragePoint | None:
    """The point with the most answers whose true risk is at most `risk`, with probability `level`.

    Ten points are tried, at every tenth of the questions. Each has an exact bound, of a tenth of
    the error (Bonferroni), so that all ten hold at once and the choice among them costs nothing.
    None if no point qualifies.

    Args:
        points: a risk-coverage curve.
    """
    for tenths in range(_TRIED, 0, -1):
        within = [point for point in points if point.coverage <= tenths / _TRIED + 1e-9]
        if within and _bound(within[-1], level) <= risk:
            return within[-1]
    return None


def fewest_answers(risk: float, level: float = 0.95) -> int:
    """The fewest answers, all right, for which `guaranteed_point` is other than None."""
    return math.ceil(math.log((1 - level) / _TRIED) / math.log(1 - risk) - 1e-9)


def _bound(point: CoveragePoint, level: float) -> float:
    """The bound of a point's risk, such that those of all points that are tried hold at once."""
    return clopper_pearson_bound(point.wrong, point.answers, 1 - (1 - level) / _TRIED)
