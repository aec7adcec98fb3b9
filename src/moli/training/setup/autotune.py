"""The fastest batching of samples on this machine, tried with the run's model and samples."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from moli.training.batching.samples import Batching, Sample, plan_epoch
from moli.training.loop.step_loss import StepLoss

_MAX_TOKENS = (1024, 2048, 4096, 8192, 16384)
# A larger micro-batch needs more memory, so it must be clearly faster.
_MIN_GAIN = 1.03
# If a micro-batch takes longer, the trial itself costs more than it gains.
_MAX_SECONDS = 4.0
# Tokens of a run below which nothing is tried.
MIN_RUN_TOKENS = 200_000


@dataclass(frozen=True, slots=True)
class Timing:
    """Tokens per second forwards and backwards, and the seconds of one micro-batch."""

    rate: float
    seconds: float


def fastest_batching(loss: StepLoss, samples: Sequence[Sample], batching: Batching) -> Batching:
    """Choose the size of micro-batches and whether to pack, by timing; steps stay the same.

    Micro-batches are no larger than those of `batching`, and samples are packed only if it packs
    them. Gradients and the random state are the same afterwards.
    """
    limit = batching.max_tokens or _MAX_TOKENS[-1]
    smallest = dataclasses.replace(batching, max_tokens=min(_MAX_TOKENS[0], limit))
    with torch.random.fork_rng():
        best, rate = smallest, 0.0
        for packed in (True, False) if batching.packed else (False,):
            timing = _time_batching(loss, samples, dataclasses.replace(smallest, packed=packed))
            if timing.rate > rate * _MIN_GAIN:
                best, rate = dataclasses.replace(best, packed=packed), timing.rate
        for max_tokens in _MAX_TOKENS[1:]:
            if max_tokens > limit:
                break
            wider = dataclasses.replace(best, max_tokens=max_tokens)
            timing = _time_batching(loss, samples, wider)
            if timing.rate <= rate * _MIN_GAIN:
                break
            best, rate = wider, timing.rate
            if timing.seconds > _MAX_SECONDS:
                break
        return best


def _time_batching(loss: StepLoss, samples: Sequence[Sample], batching: Batching) -> Timing:
    """Time the largest micro-batch that a batching makes of some samples."""
    some = samples[:512]
    sizes = [sample.size for sample in some]
    one_step = dataclasses.replace(batching, batch=len(some))
    micro_batches = [
        micro_batch for step in plan_epoch(sizes, one_step, 0, 0) for micro_batch in step
    ]
    largest = max(micro_batches, key=lambda numbers: sum(sizes[number] for number in numbers))
    micro_batch = [some[number] for number in largest]
    times = []
    for _ in range(3):  # the first finds nothing ready and is not counted
        begun = time.perf_counter()
        loss(micro_batch, packed=batching.packed).backward()
        times.append(time.perf_counter() - begun)
        for parameter in loss.parameters():
            parameter.grad = None
        if times[-1] > _MAX_SECONDS:
            break
    seconds = min(times[1:] or times)
    return Timing(sum(sample.size for sample in micro_batch) / seconds, seconds)
