"""Win rates, and what length has to do with them."""

from __future__ import annotations

import numpy as np
import pytest

from moli.metrics.win_rates import win_rate
from moli.records.errors import InputError


def test_a_win_rate_counts_ties_half_and_has_an_interval_around_it() -> None:
    rate = win_rate([1, 1, 0, 0.5] * 25, [0] * 100)
    assert rate.win_rate == 0.625 and rate.prompts == 100
    low, high = rate.interval
    assert 0.5 < low < 0.625 < high < 0.75
    assert rate.length_controlled == pytest.approx(0.625, abs=1e-6)
    with pytest.raises(InputError):
        win_rate([], [])


def test_a_win_rate_that_length_alone_explains_is_controlled_to_a_half() -> None:
    draw = np.random.default_rng(0)
    longer_by = draw.normal(30, 40, 2000)
    chance = 1 / (1 + np.exp(-2 * np.tanh(longer_by / longer_by.std())))
    wins = (draw.random(2000) < chance).astype(float)
    rate = win_rate(wins.tolist(), longer_by.tolist())
    assert rate.win_rate > 0.62
    assert rate.length_controlled == pytest.approx(0.5, abs=0.04)
    low, high = rate.length_controlled_interval
    assert low < 0.5 < high


def test_a_better_answer_of_any_length_keeps_its_rate() -> None:
    draw = np.random.default_rng(1)
    longer_by = draw.normal(0, 40, 2000)
    wins = (draw.random(2000) < 0.8).astype(float)
    rate = win_rate(wins.tolist(), longer_by.tolist())
    assert rate.length_controlled == pytest.approx(rate.win_rate, abs=0.01)
    always = win_rate([1.0] * 40, draw.normal(0, 1, 40).tolist())
    assert always.length_controlled > 0.99
