"""The permutation test against the enumeration of every sign; intervals against the literature."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moli.metrics.statistics import (
    bootstrap_interval,
    clopper_pearson_bound,
    paired_p_value,
    wilson_interval,
)
from moli.records.errors import InputError


def enumerated(difference: list[float]) -> float:
    """The exact one-sided p-value: the share of sign patterns that reach the observed sum."""
    rest = [value for value in difference if value]
    if not rest:
        return 1.0
    observed = math.fsum(rest)
    sums = (
        math.fsum(sign * value for sign, value in zip(signs, rest, strict=True))
        for signs in itertools.product((-1, 1), repeat=len(rest))
    )
    slack = 1e-9 * max(map(abs, rest))
    return sum(total >= observed - slack for total in sums) / 2 ** len(rest)


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(-5, 5).map(lambda n: n / 4), min_size=1, max_size=10))
def test_the_p_value_is_that_of_all_sign_flips_within_sampling_error(
    difference: list[float],
) -> None:
    rounds = 10_000
    exact = enumerated(difference)
    result = paired_p_value(difference, [0.0] * len(difference), rounds=rounds)
    # Five standard errors of a share estimated from so many draws, and the one that is added.
    assert abs(result - exact) <= 5 * math.sqrt(exact * (1 - exact) / rounds) + 2 / rounds


def test_equal_scores_give_no_reason_to_prefer_either() -> None:
    assert paired_p_value([0.5, 1.0], [0.5, 1.0]) == 1.0
    assert paired_p_value([], []) == 1.0


def test_the_test_has_one_side() -> None:
    better, worse = [1.0] * 20, [0.0] * 20
    assert paired_p_value(better, worse) < 0.001
    assert paired_p_value(worse, better) > 0.999


def test_the_smallest_value_is_one_in_all_rounds_and_itself() -> None:
    assert paired_p_value(np.ones(60), np.zeros(60), rounds=999) == pytest.approx(1 / 1000)


def test_the_same_scores_give_the_same_value_every_time() -> None:
    generator = np.random.default_rng(1)
    first, second = generator.random(30), generator.random(30)
    assert paired_p_value(first, second) == paired_p_value(first, second)


@pytest.mark.parametrize("unit", [1e-9, 1e-3, 1e3, 1e7, 1e12])
def test_the_unit_that_scores_are_in_does_not_matter(unit: float) -> None:
    difference = np.array([0.1, 0.2, 0.3, -0.1, 0.7, -0.3, 0.1])
    zero = np.zeros(len(difference))
    assert paired_p_value(difference * unit, zero) == paired_p_value(difference, zero)


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Newcombe (1998), Statistics in Medicine 17, table I, method 3.
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_intervals_are_those_of_the_literature(
    successes: int, trials: int, low: float, high: float
) -> None:
    assert wilson_interval(successes, trials) == pytest.approx((low, high), abs=5e-5)


def test_a_bootstrap_of_a_mean_is_near_the_normal_interval() -> None:
    scores = np.random.default_rng(1).normal(3.0, 2.0, 2000)
    low, high = bootstrap_interval(lambda rows: float(scores[rows].mean()), len(scores))
    error = scores.std() / math.sqrt(len(scores))
    assert low == pytest.approx(scores.mean() - 1.96 * error, abs=0.2 * error)
    assert high == pytest.approx(scores.mean() + 1.96 * error, abs=0.2 * error)
    again = bootstrap_interval(lambda rows: float(scores[rows].mean()), len(scores))
    assert (low, high) == again


def test_an_interval_of_nothing_is_refused() -> None:
    with pytest.raises(InputError):
        wilson_interval(0, 0)
    with pytest.raises(InputError):
        bootstrap_interval(lambda rows: 0.0, 0)


@pytest.mark.parametrize(
    ("successes", "trials"), [(0, 1), (1, 1), (0, 59), (3, 80), (40, 80), (79, 80), (7, 5000)]
)
@pytest.mark.parametrize("level", [0.9, 0.95, 0.999])
def test_the_exact_bound_is_that_of_the_beta_distribution(
    successes: int, trials: int, level: float
) -> None:
    stats = pytest.importorskip("scipy.stats")
    expected = 1.0
    if successes < trials:
        expected = stats.beta.ppf(level, successes + 1, trials - successes)
    assert clopper_pearson_bound(successes, trials, level) == pytest.approx(expected, rel=1e-7)


def test_the_exact_bound_of_no_success_is_the_rule_of_three() -> None:
    assert clopper_pearson_bound(0, 100) == pytest.approx(1 - 0.05 ** (1 / 100))
    with pytest.raises(InputError):
        clopper_pearson_bound(0, 0)
