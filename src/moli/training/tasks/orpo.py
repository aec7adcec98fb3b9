"""Odds ratio preference optimization (Hong et al. 2024): instruction tuning on the chosen answers,
and a penalty on the odds of the rejected ones, without a reference."""

from __future__ import annotations

import torch
from torch.nn.functional import logsigmoid

from moli.training.tasks.base.preference import PairLogps, PreferenceTask


def orpo_loss(means: torch.Tensor, beta: float) -> torch.Tensor:
    """Loss of each pair, [pairs] (Hong et al. 2024, equations 6 and 7, whose lambda is beta here).

    Args:
        means: mean log probability of a token of the chosen and the rejected answers, [pairs, 2].
    """
    # log odds = log p - log(1 - p)
    log_odds = means - torch.log(-torch.expm1(means))
    return -means[:, 0] - beta * logsigmoid(log_odds[:, 0] - log_odds[:, 1])


class Orpo(PreferenceTask):
    """Odds ratio preference optimization."""

    needs_reference = False

    def pair_losses(self, pairs: PairLogps) -> torch.Tensor:
        """Loss of each pair."""
        return orpo_loss(pairs.policy / pairs.tokens, self.options.beta)

    def rewards(self, pairs: PairLogps) -> torch.Tensor:
        """The implicit rewards, [pairs, 2]."""
        rewards: torch.Tensor = self.options.beta * pairs.policy / pairs.tokens
        return rewards
