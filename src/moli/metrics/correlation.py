"""How closely two series of scores agree, from -1 to 1.

Where one side is constant there is nothing to agree with, and the result is 0: a model that gives
every pair the same score has learnt nothing, and is never chosen over one that has.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from moli.metrics.pairs import check_pairs

Scores = Sequence[float] | NDArray[np.floating]


def pearson(expected: Scores, predicted: Scores) -> float:
    """Pearson's correlation: how nearly one is a linear function of the other.

    Raises:
        InputError: there are fewer than two, or not as many predictions as references; `spearman`
            raises it too.
    """
    check_pairs(expected, predicted, least=2)
    first, second = _direction(expected), _direction(predicted)
    return float(np.clip(first @ second, -1.0, 1.0))


def spearman(expected: Scores, predicted: Scores) -> float:
    """Spearman's correlation: Pearson's of the average ranks."""
    check_pairs(expected, predicted, least=2)
    return pearson(average_ranks(expected), average_ranks(predicted))


def average_ranks(scores: Scores) -> NDArray[np.float64]:
    """Ranks [n] from 1, the lowest score first; equal scores share the mean of their ranks."""
    _, place, counts = np.unique(
        np.asarray(scores, np.float64), return_inverse=True, return_counts=True
    )
    last = np.cumsum(counts)  # the highest rank among those of each value
    ranks: NDArray[np.float64] = (last - (counts - 1) / 2)[place]
    return ranks


def _direction(scores: Scores) -> NDArray[np.float64]:
    """Scores about their mean, scaled to unit length; zeros if they are all the same."""
    values = np.asarray(scores, np.float64)
    if np.ptp(values) == 0:  # the mean is rounded, so that differences from it need not be 0
        return np.zeros(len(values))
    values = values / np.abs(values).max()  # so that no square overflows or underflows
    values = values - values.mean()
    unit: NDArray[np.float64] = values / np.linalg.norm(values)
    return unit
