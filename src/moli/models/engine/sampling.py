"""Sampling: from logits to the next token."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from moli.records.generation import Sampling


def apply_penalties(
    logits: torch.Tensor, sampling: Sampling, prompt_tokens: int, token_ids: NDArray[np.int32]
) -> torch.Tensor:
    """Logits [V] after the bias of single tokens, and penalties for tokens that occurred before.

    Args:
        prompt_tokens: how many of `token_ids` are the prompt; the others were generated.
    """
    if sampling.logit_bias:
        ids, values = zip(*sampling.logit_bias, strict=True)
        biased = torch.tensor(ids, device=logits.device)
        logits = logits.index_add(0, biased, logits.new_tensor(values))
    if sampling.repetition_penalty != 1.0:
        seen = torch.from_numpy(np.unique(token_ids)).long().to(logits.device)
        own = logits[seen]
        factor = sampling.repetition_penalty
        logits = logits.index_put((seen,), torch.where(own < 0, own * factor, own / factor))
    if (sampling.presence_penalty or sampling.frequency_penalty) and len(token_ids) > prompt_tokens:
        generated = torch.from_numpy(token_ids[prompt_tokens:]).long().to(logits.device)
        seen, counts = generated.unique(return_counts=True)
        penalty = sampling.presence_penalty + sampling.frequency_penalty * counts
        logits = logits.index_put((seen,), logits[seen] - penalty)
    return logits


def warp_logits(logits: torch.Tensor, sampling: Sampling) -> torch.Tensor:
    """Logits [V] over temperature, with -inf for tokens outside of top-k, top-p and min-p."""
    logits = logits / sampling.temperature
    if 0 < sampling.top_k < len(logits):
        least = logits.topk(sampling.top_k).values[-1]
        logits = logits.masked_fill(logits < least, float("-inf"))
    if sampling.top_p < 1.0:
        ordered, order = logits.sort(descending=True)
        probability = ordered.softmax(-1)
        before = probability.cumsum(-1) - probability
        logits = logits.index_fill(0, order[before >= sampling.top_p], float("-inf"))
    if sampling.min_p > 0:
        probability = logits.softmax(-1)
        least = sampling.min_p * probability.max()
        logits = logits.masked_fill(probability < least, float("-inf"))
    return logits


def draw_token(logits: torch.Tensor, generator: torch.Generator) -> int:
    """Draw a token: the first at which the running sum of probabilities exceeds a random number."""
    sums = logits.double().softmax(-1).cumsum(-1)
    point = torch.rand((), generator=generator, dtype=torch.float64) * sums[-1].cpu()
    return min(int(torch.searchsorted(sums.cpu(), point, right=True)), len(sums) - 1)
