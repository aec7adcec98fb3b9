"""Which way of batching samples is fastest here, tried with the run's model and samples."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence

import torch

from moli.training.batching.samples import Batching, Sample, plan_epoch
from moli.training.loop.stepping import StepLoss

_MAX_TOKENS = (1024, 2048, 4096, 8192, 16384)
# A larger part needs more memory, so it must be clearly faster.
_GAIN = 1.03
# Longer than this and the trial itself would cost more than it gains.
_SECONDS = 4.0
# Tokens of a run below which nothing is tried.
WORTH = 200_000


def fastest(loss: StepLoss, samples: Sequence[Sample], batching: Batching) -> Batching:
    """The same step, its parts and their layout chosen by time; `batching` bounds both.

    Gradients and the random state are as they were afterwards.
    """
    limit = batching.max_tokens or _MAX_TOKENS[-1]
    smallest = dataclasses.replace(batching, max_tokens=min(_MAX_TOKENS[0], limit))
    with torch.random.fork_rng():
        best, rate = smallest, 0.0
        for packed in (True, False) if batching.packed else (False,):
            found = _rate(loss, samples, dataclasses.replace(smallest, packed=packed))
            if found[0] > rate * _GAIN:
                best, rate = dataclasses.replace(best, packed=packed), found[0]
        for max_tokens in _MAX_TOKENS[1:]:
            if max_tokens > limit:
                break
            wider = dataclasses.replace(best, max_tokens=max_tokens)
            found = _rate(loss, samples, wider)
            if found[0] <= rate * _GAIN:
                break
            best, rate = wider, found[0]
            if found[1] > _SECONDS:
                break
        return best


def _rate(loss: StepLoss, samples: Sequence[Sample], batching: Batching) -> tuple[float, float]:
    """Tokens per second forwards and backwards, and the seconds of one part."""
    some = samples[:512]
    sizes = [each.size for each in some]
    whole = dataclasses.replace(batching, batch=len(some))
    micros = [micro for step in plan_epoch(sizes, whole, 0, 0) for micro in step]
    part = [some[row] for row in max(micros, key=lambda micro: sum(sizes[r] for r in micro))]
    taken = []
    for _ in range(3):  # the first finds nothing ready and is not counted
        begun = time.perf_counter()
        loss(part, packed=batching.packed).backward()
        taken.append(time.perf_counter() - begun)
        for parameter in loss.parameters():
            parameter.grad = None
        if taken[-1] > _SECONDS:
            break
    seconds = min(taken[1:] or taken)
    return sum(each.size for each in part) / seconds, seconds
