"""A model run over samples without learning: for evaluation, prediction and proofs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moli.models.hardware.memory import Heap
from moli.records.examples import Example
from moli.training.batching.samples import Batching, Sample, plan_epoch
from moli.training.tasks.base.task import Task
from moli.training.tasks.base.wrapped_models import evaluation_mode

_MAX_TOKENS = 8192  # that are computed at once


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a model has got.

    Attributes:
        share: of the work, from 0 to 1.
        tokens: that were read or written.
        seconds: since it began.
    """

    share: float
    tokens: int
    seconds: float

    @property
    def rate(self) -> float:
        """Tokens per second."""
        return self.tokens / max(self.seconds, 1e-9)


OnProgress = Callable[[Progress], None]


@dataclass(frozen=True, slots=True)
class InferenceResult:
    """What a model made of groups of samples, a group for each example.

    Attributes:
        answers: one for each sample.
        losses: summed over all supervised items of a group, [groups]; 0 where not asked for.
        supervised: how many items that is, [groups].
    """

    answers: list[list[Any]]
    losses: NDArray[np.float64]
    supervised: NDArray[np.int64]

    @property
    def loss(self) -> float:
        """Mean over all supervised items."""
        return float(self.losses.sum() / max(1, self.supervised.sum()))


def run_inference(
    task: Task,
    model: Any,
    groups: Sequence[Sequence[Sample]],
    *,
    packed: bool = False,
    with_losses: bool = True,
    on_tokens: Callable[[int], None] | None = None,
) -> InferenceResult:
    """The answers for each group's samples.

    Args:
        packed: whether samples lie end to end, which has to be proven first.
        with_losses: whether samples carry targets, so that a loss can be computed.
        on_tokens: called after each part with the number of tokens in it.
    """
    flat = [(number, each) for number, group in enumerate(groups) for each in group]
    sizes = [each.size for _, each in flat]
    # In steps of many samples, which make few parts.
    batching = Batching(max(1, min(len(flat), 256)), _MAX_TOKENS, packed)
    found: list[Any] = [None] * len(flat)
    losses, supervised = np.zeros(len(groups)), np.zeros(len(groups), np.int64)
    parts = (part for step in plan_epoch(sizes, batching, 0, 0) for part in step)
    heap = Heap()
    with evaluation_mode(model):
        for part in parts:
            samples = [flat[row][1] for row in part]
            owners = [flat[row][0] for row in part]
            outputs = task.forward(model, samples, packed=packed)
            if with_losses:
                each = task.losses(outputs, samples).double().cpu().numpy()
                np.add.at(losses, owners, each)
                np.add.at(supervised, owners, [sample.supervised for sample in samples])
            for row, answer in zip(part, task.decode(outputs, samples), strict=True):
                found[row] = answer
            heap.trim()
            if on_tokens:
                on_tokens(sum(sizes[row] for row in part))
    by_group: list[list[Any]] = [[] for _ in groups]
    for (number, _), answer in zip(flat, found, strict=True):
        by_group[number].append(answer)
    return InferenceResult(by_group, losses, supervised)


def evaluate(
    task: Task,
    model: Any,
    examples: Sequence[Example],
    groups: Sequence[Sequence[Sample]],
    *,
    packed: bool = False,
) -> dict[str, float]:
    """The task's metrics and the loss on examples and their samples."""
    outcome = run_inference(task, model, groups, packed=packed)
    metrics = task.metrics(*answers_of_examples(task, outcome, examples))
    return {"loss": outcome.loss, **metrics}


def answers_of_examples(
    task: Task, outcome: InferenceResult, examples: Sequence[Example]
) -> tuple[list[Any], list[Example]]:
    """One answer for each example, and these examples; those without samples are left out."""
    pairs = [
        (task.aggregate(each, example), example)
        for each, example in zip(outcome.answers, examples, strict=True)
        if each
    ]
    return [answer for answer, _ in pairs], [example for _, example in pairs]
