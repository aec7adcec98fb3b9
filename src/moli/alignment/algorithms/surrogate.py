"""The part of the loss that PPO and the group methods share: clipped ratios times advantages."""

from __future__ import annotations

import torch

from moli.alignment.algorithms.protocol import AlgorithmOptions, Losses, Minibatch
from moli.alignment.kl import kl_estimate
from moli.alignment.policy_losses import (
    clipped_policy_loss,
    importance_weights,
    is_clipped,
    weighted_sum,
)
from moli.alignment.rollouts.buffer import Experience


def surrogate_loss(minibatch: Minibatch, ratio: torch.Tensor, options: AlgorithmOptions) -> Losses:
    """The clipped policy loss, corrected for the engine that sampled.

    Args:
        ratio: probabilities over those before the update, of tokens [B, T] or of answers [B, 1].
    """
    batch, weights = minibatch.experience, minibatch.weights
    clip = (options.clip_low, options.clip_high)
    losses = clipped_policy_loss(ratio, batch.advantages, *clip)
    correction = importance_weights(
        batch.logprobs, batch.sampled_logprobs, batch.mask, options.importance_cap
    )
    clipped = is_clipped(ratio.detach(), batch.advantages, *clip).double()
    loss = weighted_sum(losses * correction, weights)
    metrics = {"policy_loss": loss.detach(), "clip_share": weighted_sum(clipped, weights)}
    return Losses(loss, metrics)


def penalized_scores(
    experience: Experience, beta: float, options: AlgorithmOptions
) -> torch.Tensor:
    """Scores of whole answers less beta times their divergence, [B]."""
    estimates = kl_estimate(
        experience.logprobs, experience.reference_logprobs, options.kl_estimator
    )
    return experience.scores - beta * torch.where(experience.mask, estimates, 0).sum(1)


def spread(advantages: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Advantages of answers, [B] or [G, N], as those of their tokens, [B, T]."""
    return torch.where(mask, advantages.reshape(-1, 1), 0)
