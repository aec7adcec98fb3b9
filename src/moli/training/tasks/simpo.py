"""Simple preference optimization (Meng et al. 2024): the reward is the mean log probability,
without a reference."""

from __future__ import annotations

import torch
from torch.nn.functional import logsigmoid

from moli.training.tasks.base.preference import PairLogps, PreferenceTask


def simpo_loss(rewards: torch.Tensor, gamma: float) -> torch.Tensor:
    """Loss of each pair, [pairs] (Meng et al. 2024, equation 6).

    Args:
        rewards: beta times the mean log probability of a token of the chosen and the rejected
            answers, [pairs, 2].
        gamma: the margin by which the chosen answer's reward is to be larger.
    """
    return -logsigmoid(rewards[:, 0] - rewards[:, 1] - gamma)


class Simpo(PreferenceTask):
    """Simple preference optimization."""

    needs_reference = False

    def pair_losses(self, pairs: PairLogps) -> torch.Tensor:
        """Loss of each pair."""
        return simpo_loss(self.rewards(pairs), self.options.gamma)

    def rewards(self, pairs: PairLogps) -> torch.Tensor:
        """The implicit rewards, [pairs, 2]."""
        rewards: torch.Tensor = self.options.beta * pairs.policy / pairs.tokens
        return rewards
