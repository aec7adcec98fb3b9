"""Calibration of probabilities: how far they are from the truth, and what corrects them."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from moli.records.errors import InputError

_LARGEST_LOG = 2.0  # a temperature is between 1/7 and 7
# Standard deviation of a temperature's logarithm before anything is known of it: a few examples
# that are all answered correctly would otherwise make every probability 1.
_PRIOR_DEVIATION = 0.5


def expected_calibration_error(
    confidences: NDArray[np.float64], correct: NDArray[np.bool_], bins: int = 15
) -> float:
    """Mean gap between confidence and accuracy over bins of equal width (Guo et al. 2017, eq. 3).

    Args:
        confidences: probabilities of the predicted classes, [examples].
        correct: whether the predictions are right, [examples].

    Raises:
        InputError: there are no examples.
    """
    if not len(confidences):
        raise InputError("nothing was counted", fix="Give one example or more.")
    if not np.isfinite(confidences).all():  # of a model that diverged
        return float("nan")
    # A bin has its upper edge and not its lower one.
    numbers = np.clip(np.ceil(confidences * bins).astype(int) - 1, 0, bins - 1)
    gaps = np.bincount(numbers, confidences - correct, minlength=bins)
    return float(np.abs(gaps).sum() / len(confidences))


def fit_temperature(logits: NDArray[np.float64], targets: NDArray[np.int64]) -> float:
    """The number to divide logits by for the smallest loss (Guo et al. 2017, section 4.2).

    It has a normal prior around 1, and is found by golden-section search.

    Args:
        logits: [examples, classes].
        targets: ids of the classes, [examples].
    """

    def objective(log_temperature: float) -> float:
        """The summed cross-entropy, and the penalty of the prior."""
        scaled = logits / math.exp(log_temperature)
        largest = scaled.max(axis=1)
        total = np.log(np.exp(scaled - largest[:, None]).sum(axis=1)) + largest
        loss = float((total - scaled[np.arange(len(targets)), targets]).sum())
        return loss + 0.5 * (log_temperature / _PRIOR_DEVIATION) ** 2

    low, high, ratio = -_LARGEST_LOG, _LARGEST_LOG, (math.sqrt(5) - 1) / 2
    while high - low > 1e-4:
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if objective(left) < objective(right):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)
