"""The one training loop. It knows samples, losses and weights, but no task or method by name."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import torch

from moli.models.hardware.memory import Heap
from moli.records.errors import ModelError
from moli.records.training import Evaluated, Event, StepTaken
from moli.training.batching.samples import (
    Batching,
    Sample,
    Step,
    plan_epoch,
    steps_in_epoch,
)
from moli.training.loop import checkpoint
from moli.training.loop.checkpoint import TrainingState
from moli.training.loop.stepping import StepLoss
from moli.training.loop.world import Alone, World
from moli.training.optimization.optimizers import MasterWeights, Optimizers, learning_rate_factor

_CLIP = 1.0
Status = Literal["finished", "stopped_early", "interrupted"]
Evaluate = Callable[[], tuple[dict[str, float], float]]


@dataclass(frozen=True, slots=True)
class Schedule:
    """When things happen, in steps, except for saving, which does not affect training."""

    steps: int
    evaluate_every: int
    patience: int
    save_seconds: float = 60.0
    save_every: int = 0


@dataclass(slots=True)
class Loop:
    """One run.

    Attributes:
        loss: the summed loss of samples; it is called as a module, so that it may be sharded.
        evaluate: metrics of the current model and the score to maximise; None without examples.
        hear: receives each step and evaluation.
    """

    loss: StepLoss
    weights: MasterWeights
    optimizers: Optimizers
    samples: Sequence[Sample]
    batching: Batching
    schedule: Schedule
    seed: int
    folder: Path
    hear: Callable[[Event], None]
    evaluate: Evaluate | None = None
    world: World = field(default_factory=Alone)
    progress: TrainingState = field(default_factory=TrainingState)
    heap: Heap = field(default_factory=Heap)

    def run(self) -> Status:
        """Run to the end, or until interrupted or patience runs out; then load the best weights."""
        status: Status = "finished"
        saved = time.perf_counter()
        with _interruptible() as interrupted:
            for step in self._remaining():
                self.hear(self.take(step))
                if self.evaluate and self._is_due() and self._judge_stale(self.evaluate):
                    status = "stopped_early"
                    break
                now = time.perf_counter()
                stopping = self.world.sum(interrupted()) > 0
                if stopping or self._saving_is_due(now - saved):
                    self.save()
                    saved = now
                if stopping:
                    return "interrupted"
        if self.evaluate and self.progress.best is not None:
            self.weights.load_state_dict(self._best())
        return status

    def _remaining(self) -> Iterator[Step]:
        """The steps that are left, epoch by epoch."""
        sizes = [each.size for each in self.samples]
        each_epoch = steps_in_epoch(len(sizes), self.batching.batch)
        while self.progress.step < self.schedule.steps:
            epoch, done = divmod(self.progress.step, each_epoch)
            for step in plan_epoch(sizes, self.batching, self.seed, epoch)[done:]:
                if self.progress.step >= self.schedule.steps:
                    return
                yield step

    def take(self, step: Step) -> StepTaken:
        """Sum the gradients of a step over its parts, and update the weights."""
        begun = time.perf_counter()
        chosen = [self.samples[row] for micro in step for row in micro]
        supervised = sum(each.supervised for each in chosen)
        summed = 0.0
        self.world.reseed(self.seed, self.progress.step)
        for micro, weight in self.world.micro_batches(step, split=self.loss.task.can_split_steps):
            rows = [self.samples[row] for row in micro]
            loss = self.loss(rows, packed=self.batching.packed) * weight
            # FSDP averages over processes what is to be summed.
            (loss * (self.world.size / supervised)).backward()
            self.weights.accumulate()
            summed += float(loss.detach())
        norm = self.weights.clip_gradients(_CLIP)
        progress = self.progress
        if not math.isfinite(norm):
            raise ModelError(
                f"the gradient of step {progress.step + 1:,} is not a number: training diverged",
                where=self.folder.name,
                fix="Lower learning_rate, or use precision: fp32.",
            )
        rate = self.optimizers.step(learning_rate_factor(progress.step, self.schedule.steps))
        self.weights.copy_to_model()
        self.weights.zero_grad()
        self.heap.trim()
        progress.step += 1
        progress.examples += len(chosen)
        progress.tokens += sum(each.size for each in chosen)
        progress.supervised += supervised
        progress.seconds += time.perf_counter() - begun
        return StepTaken(
            step=progress.step,
            loss=self.world.sum(summed) / supervised,
            learning_rate=rate,
            gradient_norm=norm,
            examples=progress.examples,
            tokens=progress.tokens,
            supervised=progress.supervised,
            seconds=progress.seconds,
        )

    def _is_due(self) -> bool:
        """Whether it is time for an evaluation."""
        step, every = self.progress.step, self.schedule.evaluate_every
        return step % every == 0 or step == self.schedule.steps

    def _judge_stale(self, evaluate: Evaluate) -> bool:
        """Evaluate, keep the weights if they are the best so far; whether patience has run out."""
        begun = time.perf_counter()
        judged = evaluate()
        metrics, score = self.world.on_rank_zero(lambda: judged)
        progress = self.progress
        best = progress.best is None or score > progress.best
        if best:
            progress.best, progress.best_step, progress.stale = score, progress.step, 0
            progress.metrics = metrics
            state = self.world.gather_state(self.weights.state_dict())
            if self.world.rank == 0:
                checkpoint.write(checkpoint.best_of(self.folder, progress.step), state, {})
        else:
            progress.stale += 1
        seconds = time.perf_counter() - begun
        self.hear(Evaluated(progress.step, metrics, best, seconds))
        return 0 < self.schedule.patience <= progress.stale

    def _best(self) -> dict[str, torch.Tensor]:
        from safetensors.torch import load_file

        self.world.wait()  # for the first one, which writes it
        return load_file(checkpoint.best_of(self.folder, self.progress.best_step))

    def _saving_is_due(self, seconds: float) -> bool:
        every = self.schedule.save_every
        if every:
            return self.progress.step % every == 0
        return self.world.on_rank_zero(lambda: seconds >= self.schedule.save_seconds)

    def save(self) -> None:
        """Write a checkpoint from which `resume` continues."""
        weights = self.world.gather_state(self.weights.state_dict())
        optimizer = self.world.gather_state(self.optimizers.state_dict())
        if self.world.rank == 0:
            checkpoint.save(self.folder, self.progress, weights, optimizer)

    def resume(self) -> None:
        """Continue from the folder's checkpoint, if there is one."""
        if found := checkpoint.load(self.folder):
            self.progress, weights, optimizer = found
            self.weights.load_state_dict(weights)
            self.optimizers.load_state_dict(optimizer)


@contextmanager
def _interruptible() -> Iterator[Callable[[], bool]]:
    """Ctrl-C and SIGTERM ask for a stop after the step; a second one is obeyed at once."""
    asked: list[int] = []

    def ask(number: int, _frame: Any) -> None:
        if asked:
            raise KeyboardInterrupt
        asked.append(number)

    try:
        before = {each: signal.signal(each, ask) for each in (signal.SIGINT, signal.SIGTERM)}
    except ValueError:  # only the main thread may do this; elsewhere nothing interrupts
        before = {}
    try:
        yield lambda: bool(asked)
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)
