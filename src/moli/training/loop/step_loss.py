"""The loss that a training step differentiates: a task's loss as a module around the model."""

from __future__ import annotations

import torch

from moli.training.batching.samples import Sample
from moli.training.tasks.base.task import Task


class StepLoss(torch.nn.Module):
    """The summed loss of samples, as a module so that it and the model may be sharded as one."""

    def __init__(self, task: Task, model: torch.nn.Module) -> None:
        super().__init__()
        self.task = task
        self.model = model

    @property
    def can_split_steps(self) -> bool:
        """Whether a step's loss is the sum of its micro-batches' losses."""
        return self.task.can_split_steps

    def forward(self, samples: list[Sample], *, packed: bool) -> torch.Tensor:
        """The loss summed over all supervised items of the samples, a scalar in float32."""
        return self.task.training_losses(self.model, samples, packed=packed).sum()
