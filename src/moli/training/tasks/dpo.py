"""Direct preference optimization (Rafailov et al. 2023): a classifier of pairs made of the model's
own log probabilities."""

from __future__ import annotations

import torch
from torch.nn.functional import logsigmoid

from moli.training.tasks.base.preference import PairLogps, PreferenceTask


def dpo_loss(rewards: torch.Tensor, *, label_smoothing: float = 0.0) -> torch.Tensor:
    """Loss of each pair, [pairs] (Rafailov et al. 2023, equation 7).

    Args:
        rewards: implicit rewards, beta (log pi - log pi_ref), of the chosen and the rejected
            answers, [pairs, 2].
        label_smoothing: assumed share of pairs whose sides are swapped (conservative DPO, Mitchell
            2023).
    """
    margin = rewards[:, 0] - rewards[:, 1]
    right, swapped = -logsigmoid(margin), -logsigmoid(-margin)
    return (1 - label_smoothing) * right + label_smoothing * swapped


class Dpo(PreferenceTask):
    """Direct preference optimization.

    With `length_normalized`, log probabilities are means over an answer's tokens (Lambert et al.
    2024, section 5.1.2), so that longer answers have no larger rewards.
    """

    def pair_losses(self, pairs: PairLogps) -> torch.Tensor:
        """Loss of each pair."""
        return dpo_loss(self.rewards(pairs), label_smoothing=self.options.label_smoothing)

    def rewards(self, pairs: PairLogps) -> torch.Tensor:
        """The implicit rewards, [pairs, 2]."""
        changes = pairs.policy - pairs.reference
        if self.options.length_normalized:
            changes = changes / pairs.tokens
        rewards: torch.Tensor = self.options.beta * changes
        return rewards
