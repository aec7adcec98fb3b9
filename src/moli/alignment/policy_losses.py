"""Losses of policies and of value functions.

Pure functions of tensors. Legend: B answers, T tokens of the longest one, V vocabulary. A mask
[B, T] of booleans marks the tokens that count; `token_weights` says how much.
"""

from __future__ import annotations

from typing import Literal

import torch

Aggregation = Literal["token", "sequence", "constant"]


def token_entropy(logits: torch.Tensor) -> torch.Tensor:
    """Entropy of each next-token distribution in nats, logsumexp(l) - sum p l, [...].

    Args:
        logits: [..., V]; a logit of -inf is a token that cannot be drawn.
    """
    probabilities = torch.softmax(logits, -1)
    finite = torch.where(probabilities > 0, logits, 0)
    return torch.logsumexp(logits, -1) - (probabilities * finite).sum(-1)


def token_ratio(
    logprobs: torch.Tensor, old_logprobs: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Each token's probability over that before the update, [B, T]; 1 outside of the mask."""
    return torch.exp(torch.where(mask, logprobs - old_logprobs, 0))


def sequence_ratio(
    logprobs: torch.Tensor,
    old_logprobs: torch.Tensor,
    mask: torch.Tensor,
    *,
    length_normalized: bool,
) -> torch.Tensor:
    """Each answer's probability over that before the update, [B, 1].

    Args:
        length_normalized: whether it is the geometric mean over the answer's tokens, as in GSPO
            (Zheng et al. 2025, equation 7).
    """
    log_ratio = torch.where(mask, logprobs - old_logprobs, 0).sum(1, keepdim=True)
    if length_normalized:
        log_ratio = log_ratio / mask.sum(1, keepdim=True).clamp(min=1)
    return torch.exp(log_ratio)


def clipped_policy_loss(
    ratio: torch.Tensor, advantages: torch.Tensor, clip_low: float = 0.2, clip_high: float = 0.2
) -> torch.Tensor:
    """PPO's loss, max(-A ratio, -A clip(ratio, 1 - low, 1 + high)) (Schulman et al. 2017, 7).

    Args:
        ratio, advantages: [B, T], or [B, 1] for whole answers.
        clip_high: DAPO's is larger than `clip_low`, so that unlikely tokens can become likely (Yu
            et al. 2025, 3.1).
    """
    clipped = ratio.clamp(1 - clip_low, 1 + clip_high)
    return torch.maximum(-advantages * ratio, -advantages * clipped)


def is_clipped(
    ratio: torch.Tensor, advantages: torch.Tensor, clip_low: float = 0.2, clip_high: float = 0.2
) -> torch.Tensor:
    """Whether the clipped policy loss has no gradient for an item; booleans."""
    too_high = (ratio > 1 + clip_high) & (advantages > 0)
    return too_high | ((ratio < 1 - clip_low) & (advantages < 0))


def clipped_value_loss(
    values: torch.Tensor, old_values: torch.Tensor, returns: torch.Tensor, clip: float = 0.2
) -> torch.Tensor:
    """1/2 max((V - G)^2, (V_clipped - G)^2) of each token, [B, T].

    V_clipped is within `clip` of the value before the update.
    """
    clipped = old_values + (values - old_values).clamp(-clip, clip)
    return torch.maximum((values - returns).square(), (clipped - returns).square()) / 2


def importance_weights(
    logprobs: torch.Tensor, sampled_logprobs: torch.Tensor, mask: torch.Tensor, cap: float = 2.0
) -> torch.Tensor:
    """Weights that correct for tokens which another engine has sampled, [B, T], without gradients.

    An engine in other precision or with other kernels samples from a slightly different policy.
    A token's weight is its probability in training over that in sampling, at most `cap`: truncated
    importance sampling (Ionides 2008; Yao et al. 2025, "Your efficient RL framework secretly
    brings you off-policy RL training").

    Args:
        logprobs: by the weights that sampled, as training computes them.
        sampled_logprobs: log probabilities that the engine reported.
    """
    return token_ratio(logprobs, sampled_logprobs, mask).clamp(max=cap).detach()


def token_weights(
    mask: torch.Tensor, aggregation: Aggregation, max_tokens: int = 1
) -> torch.Tensor:
    """The weight of each token in a batch's loss, [B, T] in float64; it is the weighted sum.

    "token" is the mean over all tokens of the batch (DAPO), so that long answers count more.
    "sequence" is the mean over answers of the means over their tokens (GRPO), so that a token of a
    long answer counts less. "constant" divides the sum by answers and `max_tokens` (Dr.GRPO), so
    that every token counts the same in every batch.
    """
    counted = mask.double()
    if aggregation == "token":
        return counted / counted.sum().clamp(min=1)
    if aggregation == "sequence":
        return counted / counted.sum(1, keepdim=True).clamp(min=1) / len(mask)
    return counted / (len(mask) * max_tokens)


def weighted_sum(losses: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """Losses summed by weights, both [B, T], a scalar; those of weight 0 never matter."""
    return (torch.where(weights != 0, losses, 0) * weights.to(losses.dtype)).sum()
