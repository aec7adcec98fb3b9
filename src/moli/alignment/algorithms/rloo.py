"""REINFORCE leave-one-out (Ahmadian et al. 2024): the other answers are the baseline of each.

A whole answer is one action, and the divergence of all of it a penalty in its reward.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch

from moli.alignment.advantages import rloo_advantages
from moli.alignment.algorithms.protocol import GroupOptions, Losses, Minibatch
from moli.alignment.algorithms.surrogate import penalized_scores, spread, surrogate_loss
from moli.alignment.policy_losses import sequence_ratio, token_weights
from moli.alignment.rollouts.buffer import Experience
from moli.alignment.rollouts.protocols import TokenScores


class RLOOOptions(GroupOptions):
    """Options of RLOO."""


@dataclass(frozen=True, slots=True)
class RLOO:
    """Clipped updates by the reward of whole answers, compared with the others to their prompt."""

    needs_values: ClassVar[bool] = False
    options: RLOOOptions

    def estimate(self, experience: Experience, beta: float) -> Experience:
        """Each answer's penalized score, less the mean of the others."""
        rewards = penalized_scores(experience, beta, self.options)
        groups = rewards.view(-1, self.options.answers_per_prompt)
        advantages = spread(rloo_advantages(groups), experience.mask)
        return dataclasses.replace(experience, advantages=advantages)

    def weights(self, experience: Experience) -> torch.Tensor:
        """Every answer counts the same."""
        return token_weights(experience.mask, "sequence")

    def loss(
        self,
        minibatch: Minibatch,
        current: TokenScores,
        values: torch.Tensor | None,  # noqa: ARG002
    ) -> Losses:
        """The clipped loss of whole answers' probabilities."""
        batch = minibatch.experience
        ratio = sequence_ratio(
            current.logprobs, batch.logprobs, batch.mask, length_normalized=False
        )
        return surrogate_loss(minibatch, ratio, self.options)
