"""The mean of a run's weights, which on few examples is better than the last ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from moli.training.optimization.optimizers import MasterWeights, shard_like


class WeightAverage:
    """A running mean of trained weights, in which later steps count more.

    The weights after step s count s times: polynomial-decay averaging with eta = 1 (Shamir & Zhang
    2013, section 4). The last weights depend on the examples that were seen last; their mean does
    so less.
    """

    def __init__(self, weights: MasterWeights) -> None:
        self._weights = weights
        self._means = [master.detach().clone() for master in weights.masters]

    @torch.no_grad()
    def add(self, step: int) -> None:
        """Add the weights as they are after a step, which is counted from 1."""
        torch._foreach_lerp_(self._means, self._weights.masters, 2 / (step + 1))

    @contextmanager
    def applied(self) -> Iterator[None]:
        """The model has the mean weights inside, and its own again afterwards."""
        self.swap()
        try:
            yield
        finally:
            self.swap()

    @torch.no_grad()
    def swap(self) -> None:
        """Exchange the means and the weights."""
        for mean, master in zip(self._means, self._weights.masters, strict=True):
            kept = master.clone()
            master.copy_(mean)
            mean.copy_(kept)
        self._weights.copy_to_model()

    def state_dict(self) -> dict[str, torch.Tensor]:
        """The means by the names of their parameters."""
        return dict(zip(self._weights.names, self._means, strict=True))

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Set the means to what `state_dict` returned."""
        for name, mean in self.state_dict().items():
            mean.copy_(shard_like(mean, state[name]))
