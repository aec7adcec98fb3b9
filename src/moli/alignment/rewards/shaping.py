"""From scores of whole answers to rewards of tokens: scaling, penalties, placement."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch

from moli.alignment.advantages import whiten

Scaling = Literal["none", "batch", "running"]


@dataclass(slots=True)
class ScoreScaling:
    """Scores brought to one scale, so that a coefficient of the divergence means the same.

    "batch" gives a batch's scores the mean 0 and the variance 1 (Llama 2, 3.2.3). "running" does
    so with the moments of all scores so far, so that a batch of good answers stays good.

    Attributes:
        count, mean, squares: number of all scores so far, their mean, and their summed squared
            deviation from it.
    """

    kind: Scaling = "none"
    count: int = 0
    mean: float = 0.0
    squares: float = 0.0

    def __call__(self, scores: torch.Tensor) -> torch.Tensor:
        """The scores [B] of a batch, scaled."""
        if self.kind == "batch":
            return whiten(scores)
        if self.kind == "none":
            return scores
        self._add(scores.double())
        variance = self.squares / max(self.count - 1, 1)
        return (scores - self.mean) / math.sqrt(variance + 1e-8)

    def _add(self, scores: torch.Tensor) -> None:
        """Merge a batch's moments into those so far (Chan et al. 1983)."""
        mean = float(scores.mean())
        total = self.count + len(scores)
        difference = mean - self.mean
        self.squares += float((scores - mean).square().sum())
        self.squares += difference**2 * self.count * len(scores) / total
        self.mean += difference * len(scores) / total
        self.count = total


def penalize_missing_end(
    scores: torch.Tensor, ended: torch.Tensor, penalty: float = 1.0
) -> torch.Tensor:
    """Scores [B], less `penalty` where an answer did not end by itself before the maximum length.

    Args:
        ended: booleans, [B].
    """
    return torch.where(ended, scores, scores - penalty)


def token_rewards(
    scores: torch.Tensor, penalties: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Rewards of tokens, [B, T]: minus each token's penalty, and the score at the last of the mask.

    Args:
        scores: [B]; the score of an answer without tokens goes nowhere.
        penalties: one for each token, such as beta times the estimated divergence, [B, T].
    """
    rewards = torch.where(mask, -penalties, 0)
    last = mask.shape[1] - 1 - mask.flip(1).int().argmax(1)
    rows = torch.arange(len(mask))
    rewards[rows, last] += torch.where(mask[rows, last], scores, 0)
    return rewards
