"""Metrics of pairs of answers: whether the better one is preferred, and how far a model has moved.

Column 0 is of the chosen answers, column 1 of the rejected ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from moli.metrics.statistics import wilson_interval


def preference_metrics(
    rewards: NDArray[np.float64],
    logps: NDArray[np.float64],
    tokens: NDArray[np.float64],
    reference: NDArray[np.float64] | None = None,
) -> dict[str, float]:
    """Metrics of pairs of answers.

    Args:
        rewards: the reward of each answer, [pairs, 2].
        logps: log probability of each answer, summed over its tokens, [pairs, 2].
        tokens: number of tokens of each answer, [pairs, 2].
        reference: log probabilities under the reference, [pairs, 2].

    Returns:
        `reward_accuracy`, the share of pairs whose chosen answer has the larger reward (ties count
        half), with a 95 % interval; `reward_margin`, the mean difference; `chosen_logp` and
        `rejected_logp`, means of a token. With a reference also their mean changes from it in nats
        an answer, `chosen_change` and `rejected_change`, and `drift`, the mean absolute change in
        nats a token.
    """
    margins = rewards[:, 0] - rewards[:, 1]
    right = float((margins > 0).sum() + (margins == 0).sum() / 2)
    low, high = wilson_interval(right, len(margins))
    chosen, rejected = (logps / tokens).mean(0)
    metrics = {
        "reward_accuracy": right / len(margins),
        "reward_accuracy_low": low,
        "reward_accuracy_high": high,
        "reward_margin": float(margins.mean()),
        "chosen_logp": float(chosen),
        "rejected_logp": float(rejected),
    }
    if reference is None:
        return metrics
    changes = logps - reference
    return metrics | {
        "chosen_change": float(changes[:, 0].mean()),
        "rejected_change": float(changes[:, 1].mean()),
        "drift": float(np.abs(changes / tokens).mean()),
    }
