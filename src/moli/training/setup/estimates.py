"""What a run will cost, estimated from a few of its own steps."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import cycle

import torch

from moli.training import inference
from moli.training.batching.samples import Sample, Step, plan_epoch, steps_in_epoch
from moli.training.loop import checkpoint
from moli.training.loop.checkpoint import TrainingState
from moli.training.loop.loop import Loop
from moli.training.setup.memory import expected_memory_mb
from moli.training.setup.prepared import Session

# Steps that are timed: until both of the first, or one of the last, are reached.
_STEPS, _SECONDS = (3, 20), (1.0, 20.0)
_EVALUATED = 8192  # tokens of held-out samples
_KEPT = "rehearsal.safetensors"


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a whole run is expected to take.

    Attributes:
        seconds: in training.
        evaluating: seconds in all evaluations.
        memory_mb: the most at once.
        tokens_per_second: in training.
        steps: that were timed for it.
    """

    seconds: float
    evaluating: float
    memory_mb: int
    tokens_per_second: float
    steps: int


def rehearse(session: Session) -> Estimate:
    """Take a few steps and time them; they change the weights.

    The first one is the largest that there will be. It does the set-up work for the others, and
    shows how much memory is needed.
    """
    loop = session.loop
    sizes = [each.size for each in loop.samples]
    plan = plan_epoch(sizes, loop.batching, loop.seed, 0)
    loop.take(max(plan, key=lambda step: _largest(step, sizes)))
    begun = loop.progress.tokens, loop.progress.seconds
    steps = 0
    for step in cycle(plan):
        loop.take(step)
        steps += 1
        tokens, seconds = loop.progress.tokens - begun[0], loop.progress.seconds - begun[1]
        enough = steps >= _STEPS[0] and seconds >= _SECONDS[0]
        if enough or steps >= _STEPS[1] or seconds >= _SECONDS[1]:
            break
    rate = tokens / max(seconds, 1e-9)
    epochs = loop.schedule.steps / steps_in_epoch(len(sizes), loop.batching.batch)
    return Estimate(
        seconds=round(sum(sizes) * epochs / rate, 3),
        evaluating=round(_evaluating(session), 2),
        memory_mb=expected_memory_mb(loop.heap),
        tokens_per_second=round(rate, 1),
        steps=steps,
    )


@contextmanager
def restored_after(loop: Loop) -> Iterator[None]:
    """Undo what is learnt inside: weights, optimiser, progress and random state are restored.

    The weights are kept on disk, so that the memory in use is that of the run itself.
    """
    from safetensors.torch import load_file

    path = loop.folder / _KEPT
    checkpoint.write(path, loop.weights.state_dict(), {})
    try:
        here = [torch.cuda.current_device()] if torch.cuda.is_available() else []
        with torch.random.fork_rng(here):
            yield
    finally:
        loop.weights.load_state_dict(load_file(path))
        path.unlink()
        loop.optimizers.load_state_dict({})
        loop.progress = TrainingState()


def _largest(step: Step, sizes: Sequence[int]) -> int:
    """Tokens that are computed at once in a step's largest part."""
    return max(sum(sizes[row] for row in micro) for micro in step)


def _evaluating(session: Session) -> float:
    """Seconds of all evaluations, from the time that a part of one takes."""
    if not session.loop.evaluate:
        return 0.0
    every, steps = session.loop.schedule.evaluate_every, session.loop.schedule.steps
    times = -(-steps // every)
    judged = [group for _, group in session.judged]
    some: list[list[Sample]] = []
    for group in judged:
        if some and _tokens(some) >= _EVALUATED:
            break
        some.append(group)
    begun = time.perf_counter()
    packed = session.loop.batching.packed
    inference.run_inference(session.task, session.model, some, packed=packed)
    seconds = time.perf_counter() - begun
    return times * seconds * _tokens(judged) / max(_tokens(some), 1)


def _tokens(groups: Sequence[Sequence[Sample]]) -> int:
    return sum(each.size for group in groups for each in group)
