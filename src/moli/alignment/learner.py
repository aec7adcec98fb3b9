"""Trained weights with their optimizer."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import torch

from moli.records.errors import ModelError
from moli.training.loop.checkpoint import strip_prefix
from moli.training.optimization.optimizers import MasterWeights, Optimizers

Part = Literal["weights", "optimizers"]

_MAX_GRADIENT_NORM = 1.0
_EPSILON = 1e-5  # of Adam, as in Ziegler et al. 2019: few gradients are small at first


@dataclass(slots=True)
class Learner:
    """The weights of one role and their optimizer; gradients come from outside.

    Attributes:
        rate: the learning rate of the last update.
    """

    weights: MasterWeights
    optimizers: Optimizers
    rate: float = 0.0

    def step(self, factor: float) -> float:
        """Update the weights by their gradients at a share of the peak learning rate.

        Returns:
            The norm of the gradients before they were clipped.

        Raises:
            ModelError: the norm is not a number.
        """
        norm = self.weights.clip_gradients(_MAX_GRADIENT_NORM)
        if not math.isfinite(norm):
            raise ModelError(
                "the gradient is not a number: training diverged",
                where="alignment",
                fix="Lower learning_rate, or use precision: fp32.",
            )
        self.rate = self.optimizers.step(factor)
        self.weights.copy_to_model()
        self.weights.zero_grad()
        return norm


def make_learner(
    model: torch.nn.Module,
    learning_rate: float,
    dtype: torch.dtype = torch.float32,
    *,
    part: str = "",
) -> Learner:
    """A learner of weights of a model that are not frozen, without weight decay.

    Args:
        dtype: precision of the computation; updates are in float32.
        part: text that the names of the weights have, such as an adapter's; "" for all.
    """
    weights = MasterWeights(model, dtype, part=part)
    return Learner(
        weights, Optimizers(weights, "adamw", learning_rate, decay=0.0, epsilon=_EPSILON)
    )


def gather(learners: Mapping[str, Learner], part: Part) -> dict[str, torch.Tensor]:
    """The state of the weights or optimizers of all learners, named LEARNER/NAME."""
    return {
        f"{name}/{key}": tensor
        for name, learner in learners.items()
        for key, tensor in getattr(learner, part).state_dict().items()
    }


def distribute(
    learners: Mapping[str, Learner], part: Part, state: Mapping[str, torch.Tensor]
) -> None:
    """Set the weights or optimizers of all learners to what `gather` returned."""
    for name, learner in learners.items():
        getattr(learner, part).load_state_dict(strip_prefix(state, f"{name}/"))
