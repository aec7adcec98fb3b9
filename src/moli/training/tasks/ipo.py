"""Identity preference optimization (Azar et al. 2024): margins are drawn to a value, not to
infinity, so pairs that all agree do not take the model ever further from the reference."""

from __future__ import annotations

import torch

from moli.training.tasks.base.preference import PairLogps, PreferenceTask


def ipo_loss(changes: torch.Tensor, beta: float) -> torch.Tensor:
    """Loss of each pair, [pairs] (Azar et al. 2024, equation 17, whose tau is beta here).

    Args:
        changes: log pi - log pi_ref of the chosen and the rejected answers, [pairs, 2], means over
            an answer's tokens: by the authors' word, their results are of means.
    """
    return (changes[:, 0] - changes[:, 1] - 1 / (2 * beta)) ** 2


class Ipo(PreferenceTask):
    """Identity preference optimization."""

    def pair_losses(self, pairs: PairLogps) -> torch.Tensor:
        """Loss of each pair."""
        return ipo_loss(self._changes(pairs), self.options.beta)

    def rewards(self, pairs: PairLogps) -> torch.Tensor:
        """The implicit rewards, [pairs, 2]."""
        rewards: torch.Tensor = self.options.beta * self._changes(pairs)
        return rewards

    def _changes(self, pairs: PairLogps) -> torch.Tensor:
        """Mean change of a token's log probability from the reference, [pairs, 2]."""
        return (pairs.policy - pairs.reference) / pairs.tokens
