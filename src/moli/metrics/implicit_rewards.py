"""Metrics of a model that learns from preferences: whether its own log probabilities, as rewards,
prefer the better answers, and how far it has moved from the reference.

In arrays of pairs, column 0 is of the chosen answers, column 1 of the rejected ones.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from moli.metrics.preferences import pair_accuracy
from moli.metrics.statistics import bootstrap_interval, wilson_interval


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
    accuracy = pair_accuracy(margins)
    low, high = wilson_interval(accuracy * len(margins), len(margins))
    chosen, rejected = (logps / tokens).mean(0)
    metrics = {
        "reward_accuracy": accuracy,
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


def rating_metrics(
    rewards: NDArray[np.float64],
    logps: NDArray[np.float64],
    tokens: NDArray[np.float64],
    reference: NDArray[np.float64],
    is_good: NDArray[np.bool_],
) -> dict[str, float]:
    """Metrics of rated answers, each [answers].

    Args:
        is_good: the ratings.

    Returns:
        The same as for pairs, but that `reward_accuracy` is the share of all good and bad answers
        of which the good one has the larger reward, with a bootstrap interval. What needs both
        ratings is left out if there is only one.
    """
    changes = logps - reference
    metrics = {"drift": float(np.abs(changes / tokens).mean())}
    if is_good.all() or not is_good.any():
        return metrics

    def accuracy(rows: NDArray[np.int64]) -> float:
        """Accuracy among some answers; a half if they are all of one rating."""
        good, bad = (rewards[rows][is_good[rows] == rating] for rating in (True, False))
        differences = good[:, None] - bad[None]
        return pair_accuracy(differences) if differences.size else 0.5

    low, high = bootstrap_interval(accuracy, len(rewards))
    means = {"logp": logps / tokens, "change": changes}
    by_rating = {
        f"{side}_{name}": float(values[is_good == rating].mean())
        for name, values in means.items()
        for side, rating in (("chosen", True), ("rejected", False))
    }
    return {
        "reward_accuracy": accuracy(np.arange(len(rewards))),
        "reward_accuracy_low": low,
        "reward_accuracy_high": high,
        "reward_margin": float(rewards[is_good].mean() - rewards[~is_good].mean()),
        **by_rating,
        **metrics,
    }
