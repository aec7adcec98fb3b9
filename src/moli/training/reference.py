"""The reference that a model in training is compared with: the model before its first step.

For an adapter that is its base, so a run that is to stay close to a tuned model begins from that
model with its adapter merged.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from moli.models.hardware.memory import Heap
from moli.training.batching.samples import Sample
from moli.training.inference import plan_inference
from moli.training.methods import adapters_off
from moli.training.tasks.base.task import Task
from moli.training.tasks.base.wrapped_models import evaluation_mode


def reference_values(
    task: Task, model: torch.nn.Module, samples: Sequence[Sample], *, packed: bool
) -> NDArray[np.float64]:
    """The values of the reference that a task's losses need, [samples, values].

    Args:
        model: the reference itself, or a model with an adapter, which is switched off.
        packed: whether to lay samples end to end, which `check_packing` has to allow.
    """
    heap, rows = Heap(), dict[int, NDArray[np.float64]]()
    with evaluation_mode(model), adapters_off(model):
        for micro_batch in plan_inference(samples, packed=packed):
            chosen = [samples[index] for index in micro_batch]
            outputs = task.forward(model, chosen, packed=packed)
            rows |= dict(zip(micro_batch, task.reference_values(outputs, chosen), strict=True))
            heap.trim()
    return np.array([rows[index] for index in range(len(samples))])


def set_references(task: Task, samples: Sequence[Sample], values: NDArray[np.float64]) -> None:
    """Keep the values of the reference, [samples, values], with the samples."""
    for sample, own in zip(samples, values, strict=True):
        task.set_reference(sample, own)
