"""Correlation of expected and predicted scores, from -1 to 1.

It is 0 if either side is constant: a model that gives every pair the same score is never chosen
over one that does not.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from moli.metrics.checks import check_predictions

Scores = Sequence[float] | NDArray[np.floating]


def pearson(expected: Scores, predicted: Scores) -> float:
    """Pearson's correlation: the strength of the linear relation between the scores.

    Raises:
        InputError: there are fewer than two, or not as many predictions as references; `spearman`
            raises it too.
    """
    check_predictions(expected, predicted, minimum=2)
    first, second = _standardized(expected), _standardized(predicted)
    return float(np.clip(first @ second, -1.0, 1.0))


def spearman(expected: Scores, predicted: Scores) -> float:
    """Spearman's correlation: Pearson's correlation of the average ranks."""
    check_predictions(expected, predicted, minimum=2)
    return pearson(average_ranks(expected), average_ranks(predicted))


def average_ranks(scores: Scores) -> NDArray[np.float64]:
    """Ranks [n] from 1, the lowest score first; equal scores share the mean of their ranks."""
    _, inverse, counts = np.unique(
        np.asarray(scores, np.float64), return_inverse=True, return_counts=True
    )
    last = np.cumsum(counts)  # the highest rank of each distinct score
    ranks: NDArray[np.float64] = (last - (counts - 1) / 2)[inverse]
    return ranks


def _standardized(scores: Scores) -> NDArray[np.float64]:
    """Scores minus their mean, scaled to unit length; zeros if all scores are equal."""
    values = np.asarray(scores, np.float64)
    if np.ptp(values) == 0:  # the mean is rounded, so that differences from it need not be 0
        return np.zeros(len(values))
    values = values / np.abs(values).max()  # prevents overflow and underflow of squares
    values = values - values.mean()
    unit: NDArray[np.float64] = values / np.linalg.norm(values)
    return unit
