"""The processes that train together: one, or several (`moli.training.loop.distributed`)."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

import torch

from moli.training.batching.samples import Sample
from moli.training.optimization.optimizers import MasterWeights

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class WeightedMicroBatch:
    """Samples that a process computes at once.

    Attributes:
        weight: factor of their loss: 1, or 0 if the process only takes part in a pass without
            samples of its own.
    """

    samples: Sequence[Sample]
    weight: float


class World(Protocol):
    """The processes that train together.

    Attributes:
        rank: number of this process, from 0.
        size: number of processes.
    """

    rank: int
    size: int

    def micro_batches(
        self, step: Sequence[Sequence[Sample]], *, split: bool
    ) -> list[WeightedMicroBatch]:
        """This process's micro-batches of a step, as many as every other process gets.

        Args:
            step: the micro-batches of all processes.
            split: whether they may be split further.
        """
        ...

    def sum(self, value: float) -> float:
        """The sum of a number over all processes."""
        ...

    def on_rank_zero(self, call: Callable[[], T]) -> T:
        """Make a call in the first process only; its result, or its Moli error, is sent to all."""
        ...

    def barrier(self) -> None:
        """Wait until all processes have come to this call."""
        ...

    def reseed(self, seed: int, step: int) -> None:
        """Seed random numbers before a step: differently in each process, but equally if the step
        is taken again.
        """
        ...

    def shard(self, loss: torch.nn.Module, dtype: torch.dtype) -> MasterWeights:
        """Shard the module's `model` over the processes, and return its trained weights.

        Args:
            dtype: precision of the computation.
        """
        ...

    def call_unsharded(self, loss: torch.nn.Module, call: Callable[[], T]) -> T:
        """Make a call that uses the module's model directly, while its weights are gathered."""
        ...

    def gather_state(self, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """A state with whole tensors in the first process; empty in all others."""
        ...

    def gather_model(self, model: torch.nn.Module, dtype: torch.dtype) -> None:
        """Make the first process's model whole, in `dtype`; no process can train it any more."""
        ...


class SingleProcess:
    """A world of one process."""

    rank, size = 0, 1

    def micro_batches(
        self,
        step: Sequence[Sequence[Sample]],
        *,
        split: bool,  # noqa: ARG002
    ) -> list[WeightedMicroBatch]:
        return [WeightedMicroBatch(samples, 1.0) for samples in step]

    def sum(self, value: float) -> float:
        return value

    def on_rank_zero(self, call: Callable[[], T]) -> T:
        return call()

    def barrier(self) -> None:
        """Return at once: there is no other process to wait for."""

    def reseed(self, seed: int, step: int) -> None:
        """Leave torch's random state as it is: a checkpoint restores it."""

    def shard(self, loss: torch.nn.Module, dtype: torch.dtype) -> MasterWeights:
        return MasterWeights(loss.get_submodule("model"), dtype)

    def call_unsharded(self, loss: torch.nn.Module, call: Callable[[], T]) -> T:  # noqa: ARG002
        return call()

    def gather_state(self, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return state

    def gather_model(self, model: torch.nn.Module, dtype: torch.dtype) -> None:
        """Leave the model as it is, since one process holds all of it."""
