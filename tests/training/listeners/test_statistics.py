"""Means and rates against their definitions, worked out by hand or by NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from training.listeners.runs import taken

from moli.training.listeners.statistics import ExponentialMean, RecentRates


def test_the_exponential_mean_is_the_weighted_mean_of_its_definition() -> None:
    values = np.random.default_rng(0).normal(3, 1, 50)
    mean = ExponentialMean(20)
    for number, value in enumerate(values, 1):
        weights = 0.95 ** np.arange(number)[::-1]
        assert mean.add(value) == pytest.approx(np.average(values[:number], weights=weights))


def test_a_value_that_is_no_number_does_not_stay_in_the_mean() -> None:
    mean = ExponentialMean()
    assert math.isnan(mean.add(math.nan))
    mean.add(2.0)
    mean.add(math.inf)
    assert mean.value == pytest.approx(2.0)


def test_the_pace_is_that_of_the_last_twenty_steps() -> None:
    rates = RecentRates(steps=100)
    assert math.isnan(rates.tokens_per_second)
    for step in range(1, 31):
        rates.add(taken(step, seconds=10.0 * step))
    for step in range(31, 51):  # 20 steps of a quarter of a second, from 300 s on
        rates.add(taken(step, seconds=300 + 0.25 * (step - 30)))
    assert rates.tokens_per_second == pytest.approx(500 / 0.25)
    assert rates.examples_per_second == pytest.approx(8 / 0.25)
    assert rates.seconds_left == pytest.approx(50 * 0.25)


def test_a_resumed_run_counts_from_where_it_began() -> None:
    rates = RecentRates(steps=100)
    rates.add(taken(61))
    assert math.isnan(rates.seconds_left)
    rates.add(taken(62))
    assert rates.seconds_left == pytest.approx(38 * 0.25)


def test_a_clock_that_stands_still_gives_no_rate() -> None:
    rates = RecentRates(steps=3)
    rates.add(taken(1, seconds=1.0))
    rates.add(taken(2, seconds=1.0))
    assert math.isnan(rates.tokens_per_second)
