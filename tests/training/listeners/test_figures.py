"""Figures against their definitions, worked out by hand or by NumPy."""

from __future__ import annotations

import math

import numpy as np
import pytest
from training.listeners.runs import taken

from moli.training.listeners.figures import ExponentialMean, Pace, duration, figure, flat


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
    pace = Pace(steps=100)
    assert math.isnan(pace.tokens_per_second)
    for step in range(1, 31):
        pace.add(taken(step, seconds=10.0 * step))
    for step in range(31, 51):  # 20 steps of a quarter of a second, from 300 s on
        pace.add(taken(step, seconds=300 + 0.25 * (step - 30)))
    assert pace.tokens_per_second == pytest.approx(500 / 0.25)
    assert pace.examples_per_second == pytest.approx(8 / 0.25)
    assert pace.seconds_left == pytest.approx(50 * 0.25)


def test_a_resumed_run_counts_from_where_it_began() -> None:
    pace = Pace(steps=100)
    pace.add(taken(61))
    assert math.isnan(pace.seconds_left)
    pace.add(taken(62))
    assert pace.seconds_left == pytest.approx(38 * 0.25)


def test_a_clock_that_stands_still_gives_no_rate() -> None:
    pace = Pace(steps=3)
    pace.add(taken(1, seconds=1.0))
    pace.add(taken(2, seconds=1.0))
    assert math.isnan(pace.tokens_per_second)


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0.0 s"), (3.26, "3.3 s"), (9.97, "10 s"), (59.6, "1 min"), (190, "3 min 10 s"),
     (3600, "1 h"), (7500, "2 h 5 min"), (100_800, "1 d 4 h"), (math.nan, "?"), (math.inf, "?")],
)  # fmt: skip
def test_a_duration_in_words(seconds: float, told: str) -> None:
    assert duration(seconds) == told


@pytest.mark.parametrize(
    ("value", "told"),
    [(12345, "12,345"), (True, "yes"), (0.871234, "0.8712"), (34.1, "34.1"), (2e-5, "2e-05"),
     (0.0, "0"), (123456.7, "123,457"), (math.nan, "not a number"),
     (-math.inf, "-inf"), ("a", "a")],
)  # fmt: skip
def test_a_figure_for_people(value: object, told: str) -> None:
    assert figure(value) == told


def test_nested_values_get_dotted_names() -> None:
    nested = {"a": {"b": 1, "c": {"d": [1, "x"]}}, "none": None, "empty": ""}
    assert flat(nested) == {"a.b": "1", "a.c.d": "1, x"}
