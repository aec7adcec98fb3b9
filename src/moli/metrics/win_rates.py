"""Win rates of one model's answers against another's, also with the effect of length taken out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moli.metrics.checks import check_predictions
from moli.metrics.statistics import Interval, bootstrap_interval

Values = NDArray[np.float64]

_PENALTY = 0.1  # of the effect of length, so that it stays finite where length decides all
_ITERATIONS = 50


@dataclass(frozen=True, slots=True)
class WinRate:
    """The share of prompts at which a model's answer beats the other's; a tie is half a win.

    Attributes:
        interval: 95 % confidence interval.
        length_controlled: the same if both answers were equally long, by logistic regression on
            the difference in length (Dubois et al. 2024), with its interval.
    """

    prompts: int
    win_rate: float
    interval: Interval
    length_controlled: float
    length_controlled_interval: Interval


def win_rate(wins: Sequence[float], longer_by: Sequence[float]) -> WinRate:
    """The win rate on some prompts.

    Args:
        wins: for each prompt 1, 0, or .5 for a tie.
        longer_by: length of the answer minus that of the other one.

    Raises:
        InputError: there are no prompts.
    """
    check_predictions(wins, longer_by, minimum=1)
    won, lengths = np.asarray(wins, float), np.asarray(longer_by, float)
    spread = lengths.std()
    scaled = np.tanh(lengths / spread) if spread else np.zeros(len(lengths))
    count = len(won)
    return WinRate(
        prompts=count,
        win_rate=float(won.mean()),
        interval=bootstrap_interval(lambda rows: float(won[rows].mean()), count),
        length_controlled=_length_controlled(won, scaled),
        length_controlled_interval=bootstrap_interval(
            lambda rows: _length_controlled(won[rows], scaled[rows]), count
        ),
    )


def _length_controlled(wins: Values, lengths: Values) -> float:
    """The probability of a win at equal length, fitted by Newton's method.

    Args:
        lengths: scaled differences in length.
    """
    features = np.stack([np.ones(len(wins)), lengths], 1)
    penalty = np.array([1e-6, _PENALTY])
    weights = np.zeros(2)
    for _ in range(_ITERATIONS):
        expected = 1 / (1 + np.exp(-features @ weights))
        gradient = features.T @ (expected - wins) + penalty * weights
        curvature = (features * (expected * (1 - expected))[:, None]).T @ features
        step = np.linalg.solve(curvature + np.diag(penalty + 1e-9), gradient)
        weights = np.clip(weights - step, -30, 30)
        if abs(step).max() < 1e-9:
            break
    return float(1 / (1 + np.exp(-weights[0])))
