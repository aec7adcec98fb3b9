"""Figures of a batch of rollouts, for reports and alarms."""

from __future__ import annotations

import statistics

import torch

from moli.alignment.advantages import masked_mean
from moli.alignment.kl import sequence_kl
from moli.alignment.rollouts.buffer import Experience
from moli.metrics.sequences import repetition


def rollout_statistics(
    experience: Experience, entropies: torch.Tensor, rewards: torch.Tensor
) -> dict[str, float]:
    """Means of a batch.

    `reward` is before scaling and penalties, `kl` the divergence per answer with its standard error
    `kl_error`, `entropy` is per token. `rollout_gap` is the mean difference between log
    probabilities as they were sampled and as training computes them, and `rollout_gap_max` the
    largest one.

    Args:
        entropies: entropy of each token's distribution, [B, T].
        rewards: [B].
    """
    mask, answers = experience.mask, experience.answers
    divergences = sequence_kl(experience.logprobs, experience.reference_logprobs, mask).double()
    gaps = torch.where(mask, experience.logprobs - experience.sampled_logprobs, 0).abs()
    count = len(experience)
    return {
        "reward": float(rewards.mean()),
        "reward_std": float(rewards.std()) if count > 1 else 0.0,
        "score": float(experience.scores.mean()),
        "kl": float(divergences.mean()),
        "kl_error": float(divergences.std() / count**0.5) if count > 1 else 0.0,
        "entropy": float(masked_mean(entropies, mask)),
        "length": float(experience.lengths.double().mean()),
        "ended_share": statistics.fmean(answer.ended for answer in answers),
        "repetition": statistics.fmean(repetition(answer.ids) for answer in answers),
        "rollout_gap": float(masked_mean(gaps, mask)),
        "rollout_gap_max": float(gaps.max()) if gaps.numel() else 0.0,
    }
