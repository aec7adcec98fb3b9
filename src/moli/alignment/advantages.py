"""Advantages: by how much a token, or a whole answer, did better than expected.

Pure functions of tensors. Legend: B answers, T tokens of the longest one, G groups (prompts) of N
answers each. A mask [B, T] of booleans marks the tokens that the policy has sampled; values in
other positions (padding, or turns of an environment) never matter, even if they are not numbers.
"""

from __future__ import annotations

import torch

_WHITENING_EPSILON = 1e-8  # added to the variance (Ziegler et al. 2019)
_GROUP_EPSILON = 1e-4  # added to the standard deviation, as in TRL


def masked_mean(values: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """The mean over the masked items, a scalar; 0 if there are none."""
    return torch.where(mask, values, 0).sum() / mask.sum().clamp(min=1)


def whiten(
    values: torch.Tensor, mask: torch.Tensor | None = None, *, shift_mean: bool = True
) -> torch.Tensor:
    """Values with variance 1 over the mask, (x - mean) rsqrt(var + 1e-8); 0 outside of the mask.

    The variance is Bessel's, over n - 1. A single item has the variance 0.

    Args:
        values: any shape; by default all of them count.
        mask: the values that count, in the same shape.
        shift_mean: whether the mean becomes 0; otherwise it stays as it is.
    """
    mask = torch.ones_like(values, dtype=torch.bool) if mask is None else mask
    mean = masked_mean(values, mask)
    centred = torch.where(mask, values - mean, 0)
    variance = centred.square().sum() / (mask.sum() - 1).clamp(min=1)
    whitened = centred * torch.rsqrt(variance + _WHITENING_EPSILON)
    return whitened if shift_mean else torch.where(mask, whitened + mean, 0)


def gae(
    rewards: torch.Tensor,
    values: torch.Tensor,
    mask: torch.Tensor,
    gamma: float = 1.0,
    lam: float = 0.95,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Generalized advantage estimation (Schulman et al. 2016, equation 16).

    delta_t = r_t + gamma V_t+1 - V_t and A_t = delta_t + gamma lam A_t+1, where t+1 is the next
    token of the mask: what lies between, such as a tool's output, costs no discount and its values
    do not leak in. After the last one V and A are 0.

    Args:
        rewards, values: [B, T]; a value is that of the state before its token.
        mask: [B, T]; rewards in other positions are ignored.

    Returns:
        Advantages, and returns A + V, both [B, T] and 0 outside of the mask.
    """
    advantages = torch.zeros_like(values)
    next_value = next_advantage = values.new_zeros(len(values))
    for step in reversed(range(values.shape[1])):
        is_sampled = mask[:, step]
        delta = rewards[:, step] + gamma * next_value - values[:, step]
        next_advantage = torch.where(
            is_sampled, delta + gamma * lam * next_advantage, next_advantage
        )
        next_value = torch.where(is_sampled, values[:, step], next_value)
        advantages[:, step] = torch.where(is_sampled, next_advantage, 0)
    return advantages, torch.where(mask, advantages + values, 0)


def explained_variance(
    values: torch.Tensor, returns: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """The share of the returns' variance that the values explain, a scalar.

    1 - Var(returns - values) / Var(returns) over the mask: 1 for values that are right but for a
    constant, 0 for constant ones (and if the returns do not vary), below 0 for worse ones.

    Args:
        values, returns: [B, T].
    """
    errors, known = (returns - values)[mask].double(), returns[mask].double()
    if not len(known) or known.max() == known.min():
        return errors.new_zeros(())
    return 1 - errors.var(correction=0) / known.var(correction=0)


def rloo_advantages(rewards: torch.Tensor) -> torch.Tensor:
    """Each answer's reward minus the mean of the others in its group (Ahmadian et al. 2024, 4).

    Args:
        rewards: [G, N] with N >= 2.
    """
    others = rewards.shape[1] - 1
    return rewards - (rewards.sum(1, keepdim=True) - rewards) / others


def grpo_advantages(rewards: torch.Tensor, *, scale: bool = True) -> torch.Tensor:
    """Each answer's reward minus its group's mean, over its deviation (Shao et al. 2024, 4.1.2).

    Args:
        rewards: [G, N] with N >= 2.
        scale: whether to divide by the group's standard deviation (Bessel's, plus 1e-4); without
            it, as in Dr.GRPO (Liu et al. 2025, 3.2), easy and hard prompts count alike.
    """
    centred = rewards - rewards.mean(1, keepdim=True)
    return centred / (rewards.std(1, keepdim=True) + _GROUP_EPSILON) if scale else centred
