"""Proximal policy optimization (Schulman et al. 2017), as for language models (Ouyang et al. 2022).

The divergence is a penalty in each token's reward; a value function is the baseline.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import torch
from pydantic import Field

from moli.alignment.advantages import gae, whiten
from moli.alignment.algorithms.protocol import AlgorithmOptions, Losses, Minibatch
from moli.alignment.algorithms.surrogate import surrogate_loss
from moli.alignment.kl import kl_estimate
from moli.alignment.policy_losses import (
    clipped_value_loss,
    token_ratio,
    token_weights,
    weighted_sum,
)
from moli.alignment.rewards.shaping import token_rewards
from moli.alignment.rollouts.buffer import Experience
from moli.alignment.rollouts.protocols import TokenScores


class PPOOptions(AlgorithmOptions):
    """Options of PPO."""

    epochs: int = Field(4, ge=1, description="Passes over each batch of rollouts")
    gamma: float = Field(1.0, ge=0, le=1, description="Discount of later rewards")
    lam: float = Field(0.95, ge=0, le=1, description="Decay of the advantage estimate")
    value_clip: float = Field(0.2, gt=0, description="Largest change of a value that is learned")
    value_coefficient: float = Field(0.1, ge=0, description="Weight of the value loss")
    entropy_coefficient: float = Field(0.0, ge=0, description="Weight of the entropy bonus")
    whiten_rewards: bool = Field(False, description="Whether rewards get the variance 1")
    whiten_advantages: bool = Field(True, description="Whether advantages are whitened")


@dataclass(frozen=True, slots=True)
class PPO:
    """Clipped updates of a policy and of its value function, several for each batch."""

    needs_values: ClassVar[bool] = True
    options: PPOOptions

    def estimate(self, experience: Experience, beta: float) -> Experience:
        """Generalized advantages of rewards less the penalty at each token."""
        options, mask = self.options, experience.mask
        estimates = kl_estimate(
            experience.logprobs, experience.reference_logprobs, options.kl_estimator
        )
        rewards = token_rewards(experience.scores, beta * estimates, mask)
        if options.whiten_rewards:
            rewards = whiten(rewards, mask, shift_mean=False)
        advantages, returns = gae(rewards, experience.values, mask, options.gamma, options.lam)
        if options.whiten_advantages:
            advantages = whiten(advantages, mask)
        return dataclasses.replace(experience, advantages=advantages, returns=returns)

    def weights(self, experience: Experience) -> torch.Tensor:
        """Every token of the minibatch counts the same."""
        return token_weights(experience.mask, "token")

    def loss(
        self, minibatch: Minibatch, current: TokenScores, values: torch.Tensor | None
    ) -> Losses:
        """Clipped policy loss, value loss and entropy bonus."""
        batch, weights, options = minibatch.experience, minibatch.weights, self.options
        ratio = token_ratio(current.logprobs, batch.logprobs, batch.mask)
        policy = surrogate_loss(minibatch, ratio, options)
        assert values is not None  # noqa: S101 - `needs_values`
        value_losses = clipped_value_loss(values, batch.values, batch.returns, options.value_clip)
        value_loss = weighted_sum(value_losses, weights)
        entropy = weighted_sum(current.entropies, weights)
        total = (
            policy.total
            + options.value_coefficient * value_loss
            - options.entropy_coefficient * entropy
        )
        return Losses(total, {**policy.metrics, "value_loss": value_loss.detach()})
