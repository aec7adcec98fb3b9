from __future__ import annotations

import numpy as np
import pytest

from moli.metrics.selective import (
    CoveragePoint,
    fewest_answers,
    guaranteed_point,
    risk_coverage,
)
from moli.records.errors import InputError


def test_the_curve_of_five_questions_is_as_counted_by_hand() -> None:
    confidences = [0.2, 0.9, 0.5, 0.5, 0.7]
    right = [False, True, True, False, False]
    points = risk_coverage(confidences, right)
    assert points == [
        CoveragePoint(0.9, 1, 0, 0.2),
        CoveragePoint(0.7, 2, 1, 0.4),
        CoveragePoint(0.5, 4, 2, 0.8),  # both at once
        CoveragePoint(0.2, 5, 3, 1.0),
    ]
    assert [each.risk for each in points] == [0, 0.5, 0.5, 0.6]


def test_a_curve_needs_questions_and_as_many_judgements() -> None:
    with pytest.raises(InputError):
        risk_coverage([], [])
    with pytest.raises(InputError):
        risk_coverage([0.5], [])


def test_the_point_with_most_answers_that_keeps_the_risk_is_chosen() -> None:
    # 250 right ones, then 50 of which every other one is wrong.
    right = [True] * 250 + [n % 2 == 0 for n in range(50)]
    points = risk_coverage(list(np.linspace(1, 0, 300)), right)
    stats = pytest.importorskip("scipy.stats")
    for risk in (0.01, 0.025, 0.05, 0.1, 0.2):
        kept = [
            answers
            for answers in range(30, 301, 30)
            if stats.beta.ppf(0.995, (w := answers - sum(right[:answers])) + 1, answers - w) <= risk
        ]
        point = guaranteed_point(points, risk)
        assert (point.answers if point else None) == max(kept, default=None)


def test_too_few_answers_guarantee_nothing_however_right_they_are() -> None:
    needed = fewest_answers(0.05)
    assert 0.95**needed <= 0.005 < 0.95 ** (needed - 1)  # a tenth of 1 - .95
    for count in (1, needed - 1, needed):
        points = risk_coverage([1.0] * count, [True] * count)
        assert (guaranteed_point(points, 0.05) is None) == (count < needed)
    assert guaranteed_point([], 0.05) is None


def test_the_promise_is_kept_in_all_but_a_twentieth_of_cases() -> None:
    """Answers of confidence p are right with probability p; the true risk is then known."""
    generator = np.random.default_rng(0)
    broken = 0
    for _ in range(300):
        confidences = generator.uniform(0.5, 1, 300)
        right = generator.uniform(size=300) < confidences
        point = guaranteed_point(risk_coverage(list(confidences), list(right)), 0.1)
        if point is not None:
            true_risk = 1 - (point.threshold + 1) / 2  # the mean of those above the threshold
            broken += true_risk > 0.1
    assert broken <= 0.05 * 300
