"""The one training loop. It knows samples, losses and weights, but no task or method by name."""

from __future__ import annotations

import math
import signal
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
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
from moli.training.loop.checkpoint import TrainingProgress
from moli.training.loop.step_loss import StepLoss
from moli.training.loop.world import SingleProcess, World
from moli.training.optimization.averaging import WeightAverage
from moli.training.optimization.optimizers import MasterWeights, Optimizers, learning_rate_factor

_MAX_GRADIENT_NORM = 1.0
_INTERVAL = 1.96  # standard errors to either side: 95 % of a normal distribution
Status = Literal["finished", "stopped_early", "interrupted"]
# The samples of a step, divided into those that are computed at once.
StepSamples = Sequence[Sequence[Sample]]


@dataclass(frozen=True, slots=True)
class RunSchedule:
    """Numbers of steps: in all, between evaluations, between checkpoints.

    Attributes:
        patience: evaluations without improvement after which training stops early; 0 for never.
        save_seconds: time between checkpoints if `save_every` is 0.
        save_every: steps between checkpoints; 0 to save them by time.
    """

    steps: int
    evaluate_every: int
    patience: int
    save_seconds: float = 60.0
    save_every: int = 0


@dataclass(frozen=True, slots=True)
class EvaluationResult:
    """Metrics on held-out examples, and the score by which the best weights are chosen.

    Attributes:
        score: a number of which larger is better.
        standard_error: the score's, which depends on the number of examples.
    """

    metrics: dict[str, float]
    score: float
    standard_error: float


@dataclass(slots=True)
class Loop:
    """A run's weights, optimizers and progress, and the steps that change them.

    Attributes:
        loss: the summed loss of samples; it is called as a module, so that it may be sharded.
        samples: the training samples that `run` goes through by default.
        batching: the division of those samples into steps, and whether samples are packed.
        on_event: receives each step and evaluation.
        evaluate: evaluates the current model; None without held-out examples.
        average: the mean of the weights over the steps, to be evaluated and kept in their place.
            With one, the weights before the first step may be kept too.
    """

    loss: StepLoss
    weights: MasterWeights
    optimizers: Optimizers
    samples: Sequence[Sample]
    batching: Batching
    schedule: RunSchedule
    seed: int
    folder: Path
    on_event: Callable[[Event], None]
    evaluate: Callable[[], EvaluationResult] | None = None
    average: WeightAverage | None = None
    world: World = field(default_factory=SingleProcess)
    progress: TrainingProgress = field(default_factory=TrainingProgress)
    heap: Heap = field(default_factory=Heap)

    def run(self, steps: Iterable[StepSamples] | None = None) -> Status:
        """Train until the end, an interruption or lost patience; then load the best weights.

        The weights are evaluated before the first step as well, to be compared with.

        Args:
            steps: the samples of each step that is left, which an algorithm may make as it goes,
                with the weights as they are then; by default `samples`, epoch by epoch.
        """
        status: Status = "finished"
        if self.evaluate and self.progress.step == 0:
            self._evaluate_base(self.evaluate)
        saved_at = time.perf_counter()
        with stop_signals() as is_interrupted:
            for step_samples in self._remaining_steps() if steps is None else steps:
                self.on_event(self.take_step(step_samples))
                if self.evaluate and self._is_evaluation_due():
                    with self.average.applied() if self.average else nullcontext():
                        self._keep_if_best(self.evaluate)
                    if 0 < self.schedule.patience <= self.progress.stale:
                        status = "stopped_early"
                        break
                now = time.perf_counter()
                stopping = self.world.sum(is_interrupted()) > 0
                if stopping or self._is_saving_due(now - saved_at):
                    self.save()
                    saved_at = now
                if stopping:
                    return "interrupted"
        if self.evaluate and self.progress.best is not None:
            self.weights.load_state_dict(self._load_best_weights())
        elif self.average and self.progress.step:
            self.average.swap()
        return status

    def samples_of(self, step: Step) -> StepSamples:
        """The samples of a planned step, which holds their indices."""
        return [[self.samples[number] for number in micro_batch] for micro_batch in step]

    def take_step(self, step_samples: StepSamples) -> StepTaken:
        """Sum the gradients of samples over their micro-batches, and update the weights."""
        begun = time.perf_counter()
        samples = [sample for micro_batch in step_samples for sample in micro_batch]
        supervised = sum(sample.supervised for sample in samples)
        loss = self._backward(step_samples, supervised)
        norm = self.weights.clip_gradients(_MAX_GRADIENT_NORM)
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
        if self.average:
            self.average.add(progress.step)
        progress.examples += len(samples)
        progress.tokens += sum(sample.size for sample in samples)
        progress.supervised += supervised
        progress.seconds += time.perf_counter() - begun
        return StepTaken(
            step=progress.step,
            loss=self.world.sum(loss) / supervised,
            learning_rate=rate,
            gradient_norm=norm,
            examples=progress.examples,
            tokens=progress.tokens,
            supervised=progress.supervised,
            seconds=progress.seconds,
        )

    def _backward(self, step_samples: StepSamples, supervised: int) -> float:
        """Accumulate the gradients of this process's micro-batches; their summed loss."""
        summed = 0.0
        self.world.reseed(self.seed, self.progress.step)
        can_split = self.loss.can_split_steps
        for micro_batch in self.world.micro_batches(step_samples, split=can_split):
            samples = list(micro_batch.samples)
            loss = self.loss(samples, packed=self.batching.packed) * micro_batch.weight
            # FSDP averages over processes what is to be summed.
            (loss * (self.world.size / supervised)).backward()
            self.weights.accumulate()
            summed += float(loss.detach())
        return summed

    def _remaining_steps(self) -> Iterator[StepSamples]:
        """The samples of each step that is left, epoch by epoch."""
        sizes = [sample.size for sample in self.samples]
        groups = [sample.group for sample in self.samples]
        epoch_steps = steps_in_epoch(len(sizes), self.batching.batch)
        while self.progress.step < self.schedule.steps:
            epoch, done = divmod(self.progress.step, epoch_steps)
            for step in plan_epoch(sizes, self.batching, self.seed, epoch, groups)[done:]:
                if self.progress.step >= self.schedule.steps:
                    return
                yield self.samples_of(step)

    def _is_evaluation_due(self) -> bool:
        """Whether the step just taken is followed by an evaluation."""
        step, every = self.progress.step, self.schedule.evaluate_every
        return step % every == 0 or step == self.schedule.steps

    def _evaluate_base(self, evaluate: Callable[[], EvaluationResult]) -> None:
        """Evaluate the weights before the first step."""
        if self.average:
            self._keep_if_best(evaluate)
            self.progress.base_metrics = self.progress.metrics
            return
        begun = time.perf_counter()
        own_result = evaluate()
        result = self.world.on_rank_zero(lambda: own_result)
        self.progress.base_metrics = result.metrics
        self.on_event(Evaluated(0, result.metrics, False, time.perf_counter() - begun))

    def _keep_if_best(self, evaluate: Callable[[], EvaluationResult]) -> None:
        """Evaluate the current weights, and save them if they are the best so far.

        Of equally good weights, those with the smaller loss are better.
        """
        begun = time.perf_counter()
        own_result = evaluate()
        result = self.world.on_rank_zero(lambda: own_result)
        progress = self.progress
        before = result.score if progress.best is None else progress.best
        is_better = progress.best is None or (result.score, -result.metrics["loss"]) > (
            progress.best,
            -progress.metrics["loss"],
        )
        is_kept = is_better or self._is_mean_as_good(result)
        if is_kept:
            progress.best_step, progress.metrics = progress.step, result.metrics
            state = self.world.gather_state(self.weights.state_dict())
            if self.world.rank == 0:
                path = checkpoint.best_weights_path(self.folder, progress.step)
                checkpoint.write_tensors(path, state, {})
        progress.best, progress.gain = max(before, result.score), result.score - before
        progress.stale = 0 if is_better else progress.stale + 1
        seconds = time.perf_counter() - begun
        self.on_event(Evaluated(progress.step, result.metrics, is_kept, seconds))

    def _is_mean_as_good(self, result: EvaluationResult) -> bool:
        """Whether evaluated weights are a mean, and not clearly worse than the best ones.

        Of evaluations on few held-out examples the best is the best by chance, and the mean of
        more steps is better in general. So it is kept if its score is within a 95 % interval of the
        best (after the standard error rule of Breiman et al. 1984, section 3.4.3).
        """
        if self.average is None or self.progress.best is None:
            return False
        return result.score >= self.progress.best - _INTERVAL * result.standard_error

    def _load_best_weights(self) -> dict[str, torch.Tensor]:
        """The weights of the best evaluation, from the file that the first process wrote."""
        from safetensors.torch import load_file

        self.world.barrier()  # the first process writes the file
        return load_file(checkpoint.best_weights_path(self.folder, self.progress.best_step))

    def _is_saving_due(self, seconds: float) -> bool:
        """Whether it is time for a checkpoint, `seconds` after the last one."""
        every = self.schedule.save_every
        if every:
            return self.progress.step % every == 0
        return self.world.on_rank_zero(lambda: seconds >= self.schedule.save_seconds)

    def save(self) -> None:
        """Write a checkpoint from which `resume` continues."""
        weights = self.world.gather_state(self.weights.state_dict())
        optimizer = self.world.gather_state(self.optimizers.state_dict())
        average = self.world.gather_state(self.average.state_dict() if self.average else {})
        if self.world.rank == 0:
            checkpoint.save_checkpoint(self.folder, self.progress, weights, optimizer, average)

    def resume(self) -> None:
        """Continue from the folder's checkpoint, if there is one."""
        if saved := checkpoint.load_checkpoint(self.folder):
            self.progress = saved.progress
            self.weights.load_state_dict(saved.weights)
            self.optimizers.load_state_dict(saved.optimizer)
            if self.average:
                self.average.load_state_dict(saved.average)


@contextmanager
def stop_signals() -> Iterator[Callable[[], bool]]:
    """Turn the first Ctrl-C or SIGTERM into a request to stop, which the yielded call reports.

    A second signal interrupts at once.
    """
    received: list[int] = []

    def on_signal(number: int, _frame: Any) -> None:
        if received:
            raise KeyboardInterrupt
        received.append(number)

    try:
        before = {
            number: signal.signal(number, on_signal) for number in (signal.SIGINT, signal.SIGTERM)
        }
    except ValueError:  # only the main thread may do this; elsewhere nothing interrupts
        before = {}
    try:
        yield lambda: bool(received)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
