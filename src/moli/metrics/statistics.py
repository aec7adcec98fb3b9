"""Whether a difference is more than chance."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np


def paired_p_value(
    first: Sequence[float], second: Sequence[float], *, rounds: int = 10_000, seed: int = 0
) -> float:
    """One-sided p-value of "the mean of `first` exceeds that of `second`" on paired scores.

    A sign-flip permutation test (Fisher 1935): under the null hypothesis each difference is as
    likely to have either sign. The smallest value it can give is 1 / (rounds + 1).
    """
    difference = np.asarray(first, float) - np.asarray(second, float)
    difference = difference[difference != 0]
    if not len(difference):
        return 1.0
    generator = np.random.default_rng(seed)
    signs = generator.integers(0, 2, (rounds, len(difference)), dtype=np.int8) * 2 - 1
    at_least = int(np.sum(signs @ difference >= difference.sum() - 1e-12))
    return (at_least + 1) / (rounds + 1)
