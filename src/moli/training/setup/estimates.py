"""The expected cost of a run, estimated from a few of its own steps."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle

import torch

from moli.training import inference
from moli.training.batching.samples import Sample, Step, plan_epoch, steps_in_epoch
from moli.training.loop.checkpoint import TrainingProgress, write_tensors
from moli.training.loop.loop import Loop
from moli.training.setup.memory import expected_memory_mb, peak_memory_mb
from moli.training.setup.prepared import PreparedRun

# Steps that are timed: until both of the first, or one of the last, are reached.
_MIN_STEPS, _MAX_STEPS = 3, 20
_MIN_SECONDS, _MAX_SECONDS = 1.0, 20.0
_EVALUATION_TOKENS = 8192  # of held-out samples that are timed
_WEIGHTS_FILE = "rehearsal.safetensors"


@dataclass(frozen=True, slots=True)
class Estimate:
    """Expected time and memory of a whole run.

    Attributes:
        seconds: time in training.
        evaluating: seconds in all evaluations.
        memory_mb: most memory held at once, in MiB.
        tokens_per_second: rate in training.
        steps: number of steps that were timed for the estimate.
    """

    seconds: float
    evaluating: float
    memory_mb: int
    tokens_per_second: float
    steps: int


def estimate_cost(prepared: PreparedRun) -> Estimate:
    """Take a few steps and time them; they change the weights.

    The first step has the largest micro-batch of an epoch, so it shows how much memory is needed.
    It is not timed, since it also does set-up work.
    """
    loop = prepared.loop
    if not loop.schedule.steps:
        return Estimate(0.0, round(_evaluation_seconds(prepared), 2), peak_memory_mb(), 0.0, 0)
    sizes = [sample.size for sample in loop.samples]
    plan = plan_epoch(sizes, loop.batching, loop.seed, 0)
    largest = max(plan, key=lambda step: _largest_micro_batch(step, sizes))
    loop.take_step(loop.samples_of(largest))
    tokens_before, seconds_before = loop.progress.tokens, loop.progress.seconds
    steps = 0
    for step in cycle(plan):
        loop.take_step(loop.samples_of(step))
        steps += 1
        tokens = loop.progress.tokens - tokens_before
        seconds = loop.progress.seconds - seconds_before
        is_enough = steps >= _MIN_STEPS and seconds >= _MIN_SECONDS
        if is_enough or steps >= _MAX_STEPS or seconds >= _MAX_SECONDS:
            break
    rate = tokens / max(seconds, 1e-9)
    epochs = loop.schedule.steps / steps_in_epoch(len(sizes), loop.batching.batch)
    return Estimate(
        seconds=round(sum(sizes) * epochs / rate, 3),
        evaluating=round(_evaluation_seconds(prepared), 2),
        memory_mb=expected_memory_mb(loop.heap),
        tokens_per_second=round(rate, 1),
        steps=steps,
    )


@contextmanager
def restored_after(loop: Loop) -> Iterator[None]:
    """Undo the steps taken inside: weights, optimizers, progress and random state are restored.

    The weights are kept on disk, so that the memory in use is that of the run itself.
    """
    from safetensors.torch import load_file

    path = loop.folder / _WEIGHTS_FILE
    write_tensors(path, loop.weights.state_dict(), {})
    try:
        devices = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with torch.random.fork_rng(devices):
            yield
    finally:
        loop.weights.load_state_dict(load_file(path))
        path.unlink()
        loop.optimizers.load_state_dict({})
        loop.progress = TrainingProgress()


def _largest_micro_batch(step: Step, sizes: Sequence[int]) -> int:
    """Tokens in the largest micro-batch of a step."""
    return max(sum(sizes[number] for number in micro_batch) for micro_batch in step)


def _evaluation_seconds(prepared: PreparedRun) -> float:
    """Seconds of all evaluations, from the time that a part of one takes."""
    loop = prepared.loop
    if not loop.evaluate:
        return 0.0
    evaluations = 1 + -(-loop.schedule.steps // loop.schedule.evaluate_every)
    groups = [each.samples for each in prepared.data.evaluation_examples]
    timed: list[list[Sample]] = []
    for group in groups:
        if timed and _count_tokens(timed) >= _EVALUATION_TOKENS:
            break
        timed.append(group)
    begun = time.perf_counter()
    inference.run_inference(prepared.task, prepared.model, timed, packed=loop.batching.packed)
    seconds = time.perf_counter() - begun
    return evaluations * seconds * _count_tokens(groups) / max(_count_tokens(timed), 1)


def _count_tokens(groups: Sequence[Sequence[Sample]]) -> int:
    return sum(sample.size for group in groups for sample in group)
