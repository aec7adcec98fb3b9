"""Significance of differences, and confidence intervals."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from moli.records.errors import InputError

Interval = tuple[float, float]


def paired_p_value(
    first: Sequence[float], second: Sequence[float], *, rounds: int = 10_000, seed: int = 0
) -> float:
    """One-sided p-value of the hypothesis that the mean of `first` exceeds that of `second`.

    A sign-flip permutation test on paired scores (Fisher 1935): under the null hypothesis each
    difference is as likely to have either sign. The smallest value it can give is 1 / (rounds + 1).
    """
    difference = np.asarray(first, float) - np.asarray(second, float)
    difference = difference[difference != 0]
    if not len(difference):
        return 1.0
    generator = np.random.default_rng(seed)
    signs = generator.integers(0, 2, (rounds, len(difference)), dtype=np.int8) * 2 - 1
    at_least = int(np.sum(signs @ difference >= difference.sum() - 1e-12))
    return (at_least + 1) / (rounds + 1)


def wilson_interval(successes: float, trials: float, level: float = 0.95) -> Interval:
    """Confidence interval for a probability of success (Wilson 1927).

    Unlike the interval around the share itself, it stays within 0 and 1, and is informative even
    if all trials succeeded or none did.

    Raises:
        InputError: there are no trials.
    """
    if trials < 1:
        raise InputError("nothing was counted", fix="Give one example or more.")
    z = NormalDist().inv_cdf((1 + level) / 2)
    share, shrink = successes / trials, 1 / (1 + z * z / trials)
    middle = (share + z * z / (2 * trials)) * shrink
    half = z * math.sqrt(share * (1 - share) / trials + (z / (2 * trials)) ** 2) * shrink
    return max(0.0, middle - half), min(1.0, middle + half)


def bootstrap_interval(
    statistic: Callable[[NDArray[np.int64]], float],
    count: int,
    *,
    level: float = 0.95,
    rounds: int = 1000,
    seed: int = 0,
) -> Interval:
    """Confidence interval for a statistic: percentiles of its values on samples of the examples,
    drawn with replacement (Efron 1979).

    Args:
        statistic: a function from indices of examples to the statistic's value on them.
        count: number of examples.

    Raises:
        InputError: there are no examples.
    """
    if count < 1:
        raise InputError("nothing was counted", fix="Give one example or more.")
    generator = np.random.default_rng(seed)
    values = [statistic(generator.integers(0, count, count)) for _ in range(rounds)]
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def clopper_pearson_bound(successes: int, trials: int, level: float = 0.95) -> float:
    """One-sided upper bound of a probability of success (Clopper & Pearson 1934).

    It is the probability at which as few successes as these have a chance of 1 - `level`. However
    few trials there are, the true probability is higher in at most that share of cases.

    Raises:
        InputError: there are no trials.
    """
    if trials < 1:
        raise InputError("nothing was counted", fix="Give one example or more.")
    if successes >= trials:
        return 1.0
    numbers = np.arange(successes + 1)
    log_factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, trials + 1)))])
    log_ways = log_factorials[-1] - log_factorials[numbers] - log_factorials[trials - numbers]
    low, high = successes / trials, 1.0
    while high - low > 1e-12:
        middle = (low + high) / 2
        log_odds = np.log(middle) - np.log1p(-middle)
        log_chances = log_ways + numbers * log_odds + trials * np.log1p(-middle)
        if np.exp(log_chances).sum() > 1 - level:
            low = middle
        else:
            high = middle
    return high
