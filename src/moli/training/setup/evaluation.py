"""Evaluation in training: its held-out examples, and the model's score on them."""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch

from moli.records.errors import InputError
from moli.records.examples import Example
from moli.training import inference
from moli.training.batching.samples import Sample
from moli.training.loop.loop import EvaluationResult
from moli.training.loop.step_loss import StepLoss
from moli.training.loop.world import World
from moli.training.tasks.base.task import Task

_MAX_TOKENS = 200_000  # of one evaluation


@dataclass(frozen=True, slots=True)
class EvaluationExample:
    """A held-out example with its samples."""

    example: Example
    samples: list[Sample]


@dataclass(frozen=True, slots=True)
class HeldOutEvaluation:
    """Evaluates a model that is being trained.

    Attributes:
        packed: whether samples are packed.
    """

    loss: StepLoss
    examples: Sequence[EvaluationExample]
    packed: bool
    world: World

    def __call__(self) -> EvaluationResult:
        """Metrics of the current weights, and the metric that chooses the best as a score."""
        return self.world.call_unsharded(self.loss, self._evaluate)

    def _evaluate(self) -> EvaluationResult:
        """Evaluate the model, whose weights must be gathered."""
        task = self.loss.task
        metrics = inference.evaluate(
            task,
            self.loss.model,
            [each.example for each in self.examples],
            [each.samples for each in self.examples],
            packed=self.packed,
        )
        metric = task.selection_metric
        if metric == "loss":
            return EvaluationResult(metrics, -metrics["loss"], standard_error=0.0)
        score = metrics[metric]
        variance = max(score * (1 - score), 0.0)  # of a share of right answers; F1 is close to one
        return EvaluationResult(metrics, score, math.sqrt(variance / len(self.examples)))


def choose_evaluation_examples(
    task: Task, examples: Sequence[Example], groups: Sequence[list[Sample]]
) -> list[EvaluationExample]:
    """Choose the held-out examples of evaluations in training: all, if that takes little time.

    If there are too many, some are drawn at random, for files are often sorted by class.

    Args:
        groups: the samples of each example; those without samples are left out.

    Raises:
        InputError: there are too few examples for the task's metric.
    """
    pairs = [pair for pair in zip(examples, groups, strict=True) if pair[1]]
    if len(pairs) == 1 < task.minimum_evaluation_examples:
        raise InputError(
            f"1 held-out example is too few for {task.metric}",
            where=str(task.recipe.held_out),
            fix="Hold out more, as held_out: 0.2, or none, as held_out: 0.",
        )
    tokens_left = _MAX_TOKENS
    if sum(sample.size for _, group in pairs for sample in group) > tokens_left:
        random.Random(task.recipe.seed).shuffle(pairs)  # noqa: S311 - no secret
    chosen: list[EvaluationExample] = []
    for example, group in pairs:
        sizes = list(accumulate(sample.size for sample in group))
        if task.metric == "loss":  # which is a mean: a part of an example does as well
            group = group[: bisect_right(sizes, tokens_left)]
        elif sizes and sizes[-1] > tokens_left:
            break
        tokens_left -= sizes[len(group) - 1] if group else 0
        chosen.append(EvaluationExample(example, group))
        if tokens_left <= 0:
            break
    return chosen


def calibrate(
    task: Task, model: torch.nn.Module, held_out: Sequence[EvaluationExample]
) -> dict[str, float]:
    """Calibrate a task with the answers of its trained model to held-out examples.

    Returns:
        The metrics with which the model is then evaluated; empty if nothing was calibrated.
    """
    if not task.is_calibrated or not held_out:
        return {}
    examples = [each.example for each in held_out]
    groups = [each.samples for each in held_out]
    result = inference.run_inference(task, model, groups, with_losses=False)
    task.calibrate(*inference.answers_of_examples(task, result, examples))
    return inference.evaluate(task, model, examples, groups)
