"""From scores to the next token."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from moli.records.generation import Sampling


def penalised(
    scores: torch.Tensor, sampling: Sampling, prompt: int, ids: NDArray[np.int32]
) -> torch.Tensor:
    """Scores [V] after penalties for the row's tokens, the first `prompt` of which were given."""
    if sampling.repetition_penalty != 1.0:
        seen = torch.from_numpy(np.unique(ids)).long().to(scores.device)
        own = scores[seen]
        factor = sampling.repetition_penalty
        scores = scores.index_put((seen,), torch.where(own < 0, own * factor, own / factor))
    if (sampling.presence_penalty or sampling.frequency_penalty) and len(ids) > prompt:
        written = torch.from_numpy(ids[prompt:]).long().to(scores.device)
        seen, counts = written.unique(return_counts=True)
        fine = sampling.presence_penalty + sampling.frequency_penalty * counts
        scores = scores.index_put((seen,), scores[seen] - fine)
    return scores


def cut(scores: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Scores [V] over temperature, with -inf for what top-k, top-p and min-p leave out."""
    scores = scores / sampling.temperature
    if 0 < sampling.top_k < len(scores):
        least = scores.topk(sampling.top_k).values[-1]
        scores = scores.masked_fill(scores < least, float("-inf"))
    if sampling.top_p < 1.0:
        ordered, order = scores.sort(descending=True)
        probability = ordered.softmax(-1)
        before = probability.cumsum(-1) - probability
        scores = scores.index_fill(0, order[before >= sampling.top_p], float("-inf"))
    if sampling.min_p > 0:
        probability = scores.softmax(-1)
        least = sampling.min_p * probability.max()
        scores = scores.masked_fill(probability < least, float("-inf"))
    return scores


def draw(scores: torch.Tensor, generator: torch.Generator) -> int:
    """A token by its probability: the first at which their running sum exceeds a random number."""
    sums = scores.double().softmax(-1).cumsum(-1)
    point = torch.rand((), generator=generator, dtype=torch.float64) * sums[-1].cpu()
    return min(int(torch.searchsorted(sums.cpu(), point, right=True)), len(sums) - 1)
