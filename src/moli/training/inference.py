"""A model run over samples without training: for evaluation, prediction and checks."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moli.models.hardware.memory import Heap
from moli.records.examples import Example
from moli.training.batching.samples import Batching, MicroBatch, Sample, plan_epoch
from moli.training.tasks.base.task import Task
from moli.training.tasks.base.wrapped_models import evaluation_mode

_MAX_TOKENS = 8192  # tokens in a micro-batch
_BATCH = 256  # samples in a step: many make few micro-batches


@dataclass(frozen=True, slots=True)
class Progress:
    """Progress of a prediction or an evaluation.

    Attributes:
        share: share of the work that is done, from 0 to 1.
        tokens: number of tokens read or generated so far.
        seconds: time since the start.
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
    """Answers and losses for groups of samples; a group has the samples of one example.

    Attributes:
        answers: for each group, an answer for each of its samples.
        losses: summed over all supervised items of a group, [groups]; 0 if not computed.
        supervised: number of supervised items of each group, [groups].
    """

    answers: list[list[Any]]
    losses: NDArray[np.float64]
    supervised: NDArray[np.int64]

    @property
    def loss(self) -> float:
        """Mean loss over all supervised items of all groups."""
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
    """The answers for the samples of each group, and their losses.

    Args:
        packed: whether to lay samples end to end, which `check_packing` has to allow.
        with_losses: whether samples have targets, so that losses can be computed.
        on_tokens: called after each micro-batch with the number of its tokens.
    """
    flat = [(row, sample) for row, group in enumerate(groups) for sample in group]
    answers: list[Any] = [None] * len(flat)
    losses, supervised = np.zeros(len(groups)), np.zeros(len(groups), np.int64)
    heap = Heap()
    with evaluation_mode(model):
        for micro_batch in plan_inference([sample for _, sample in flat], packed=packed):
            samples = [flat[index][1] for index in micro_batch]
            rows = [flat[index][0] for index in micro_batch]
            outputs = task.forward(model, samples, packed=packed)
            if with_losses:
                by_sample = task.losses(outputs, samples).double().cpu().numpy()
                np.add.at(losses, rows, by_sample)
                np.add.at(supervised, rows, [sample.supervised for sample in samples])
            for index, answer in zip(micro_batch, task.decode(outputs, samples), strict=True):
                answers[index] = answer
            heap.trim()
            if on_tokens:
                on_tokens(sum(sample.size for sample in samples))
    by_group: list[list[Any]] = [[] for _ in groups]
    for (row, _), answer in zip(flat, answers, strict=True):
        by_group[row].append(answer)
    return InferenceResult(by_group, losses, supervised)


def plan_inference(samples: Sequence[Sample], *, packed: bool) -> list[MicroBatch]:
    """The micro-batches, as indices of samples, in which a model reads them."""
    sizes = [sample.size for sample in samples]
    batching = Batching(max(1, min(len(sizes), _BATCH)), _MAX_TOKENS, packed)
    return [part for step in plan_epoch(sizes, batching, 0, 0) for part in step]


def evaluate(
    task: Task,
    model: Any,
    examples: Sequence[Example],
    groups: Sequence[Sequence[Sample]],
    *,
    packed: bool = False,
) -> dict[str, float]:
    """The task's metrics and the loss on examples.

    Args:
        groups: for each example its samples.
    """
    result = run_inference(task, model, groups, packed=packed)
    metrics = task.metrics(*answers_of_examples(task, result, examples))
    return {"loss": result.loss, **metrics}


def answers_of_examples(
    task: Task, result: InferenceResult, examples: Sequence[Example]
) -> tuple[list[Any], list[Example]]:
    """One answer for each example, and these examples; those without samples are left out."""
    pairs = [
        (task.aggregate(answers, example), example)
        for answers, example in zip(result.answers, examples, strict=True)
        if answers
    ]
    return [answer for answer, _ in pairs], [example for _, example in pairs]
