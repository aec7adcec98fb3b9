"""Metrics of scored pairs, compared with counts by hand and NumPy in float64."""

from __future__ import annotations

import math

import numpy as np
import pytest

from moli.metrics.preferences import (
    accuracy_by_margin,
    calibrate_reward,
    grouped_interval,
    length_correlation,
    pair_accuracy,
    preference_calibration_error,
    score_drift,
)
from moli.metrics.statistics import wilson_interval
from moli.records.errors import InputError


def test_a_tie_is_half_right() -> None:
    assert pair_accuracy(np.array([1.0, -2.0, 0.0, 3.0])) == 2.5 / 4


def test_accuracy_of_each_margin() -> None:
    differences, margins = np.array([1.0, -1.0, 1.0, 1.0]), np.array([0.0, 0.0, 1.0, 1.0])
    assert accuracy_by_margin(differences, margins) == {"0": 0.5, "1": 1.0}
    assert accuracy_by_margin(differences, np.zeros(4)) == {}
    many = accuracy_by_margin(np.tile([1.0, -1.0, 1.0, 1.0], 5), np.repeat(np.arange(10.0), 2), 2)
    assert many == {"up to 4.5": 0.7, "up to 9": 0.8}


def test_calibration_error_is_the_gap_between_probability_and_share() -> None:
    always = math.log(0.8 / 0.2)  # a probability of .8, and right in three of four pairs
    assert preference_calibration_error(np.array([always, always, always, -always])) == (
        pytest.approx(0.05)
    )


def test_length_correlation_does_not_depend_on_the_order_in_pairs() -> None:
    generator = np.random.default_rng(0)
    differences, longer_by = generator.normal(size=50), generator.normal(size=50) + 1
    signs = generator.choice([-1, 1], 50)
    expected = (differences @ longer_by) / math.sqrt(
        (differences @ differences) * (longer_by @ longer_by)
    )
    assert length_correlation(differences, longer_by) == pytest.approx(expected)
    assert length_correlation(signs * differences, signs * longer_by) == pytest.approx(expected)


def _pairs(right: int, wrong: int, difference: float = 1.0) -> np.ndarray:
    return np.array([difference] * right + [-difference] * wrong)


def test_a_model_may_be_used_if_it_is_clearly_better_than_length() -> None:
    longer_by = np.tile([1.0, -1.0], 100)
    report = calibrate_reward(_pairs(160, 40, math.log(4)), longer_by, np.zeros(200), range(200))
    assert report.may_be_used
    assert (report.pairs, report.accuracy, report.longer_accuracy) == (200, 0.8, 0.5)
    low, high = report.interval  # Wilson's formula with z = 1.959964
    z = 1.959964
    middle, half = 0.8 + z * z / 400, z * math.sqrt(0.16 / 200 + z * z / (4 * 200**2))
    assert (low, high) == pytest.approx(
        ((middle - half) / (1 + z * z / 200), (middle + half) / (1 + z * z / 200)), rel=1e-6
    )


@pytest.mark.parametrize(
    ("differences", "longer_by", "problem"),
    [
        (_pairs(110, 90, 0.2), np.tile([1.0, -1.0], 100), "length alone reaches 0.500"),
        (_pairs(160, 40, 1.4), np.repeat([1.0, -1.0], [150, 50]), "length alone reaches 0.750"),
        (_pairs(160, 40, 1.4), np.repeat([1.0, -1.0], [50, 150]), "length alone reaches 0.750"),
        (_pairs(160, 40, 9.0), np.tile([1.0, -1.0], 100), "off by 0.200 in the mean"),
        (_pairs(160, 40, 1.4), _pairs(160, 40), "follow the length of answers (correlation 1.00)"),
        (_pairs(40, 0), np.tile([1.0, -1.0], 20), "only 40 pairs were held out"),
    ],
)
def test_a_model_may_not_be_used(
    differences: np.ndarray, longer_by: np.ndarray, problem: str
) -> None:
    count = len(differences)
    report = calibrate_reward(differences, longer_by, np.zeros(count), range(count))
    assert not report.may_be_used
    assert any(problem in each for each in report.problems)


def test_pairs_of_one_prompt_count_as_what_they_tell() -> None:
    right = np.repeat([1.0, 1.0, 1.0, 0.0], 25)  # 100 prompts
    alone = grouped_interval(right, range(100))
    copies = grouped_interval(right.repeat(6), np.arange(100).repeat(6))
    assert copies == pytest.approx(alone)
    assert alone == pytest.approx(wilson_interval(75, 100))
    assert grouped_interval(np.ones(60), np.arange(60) // 6) == wilson_interval(10, 10)


def test_nothing_is_said_of_no_pairs() -> None:
    with pytest.raises(InputError):
        calibrate_reward([], [], [], [])


def test_drift_is_in_standard_deviations_of_the_held_out_scores() -> None:
    held_out = [-1.0, 1.0, -1.0, 1.0]  # standard deviation 1
    drift = score_drift(held_out, [2.0, 2.0, 0.5, 0.5])
    assert (drift.shift, drift.spread, drift.outside) == pytest.approx((1.25, 0.75, 0.5))
    assert drift.is_large
    assert not score_drift(held_out, [0.5, -0.5]).is_large
