"""The processes that train together: one, or several (`moli.training.loop.distributed`)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol, TypeVar

import torch

from moli.training.batching.samples import MicroBatch, Step
from moli.training.optimization.optimizers import MasterWeights

T = TypeVar("T")


class World(Protocol):
    """The processes that train together."""

    rank: int
    size: int

    def micro_batches(self, step: Step, *, split: bool) -> list[tuple[MicroBatch, float]]:
        """This process's parts of a step, each with its weight; as many as every other has."""
        ...

    def sum(self, value: float) -> float:
        """The sum of a number over all processes."""
        ...

    def on_rank_zero(self, call: Callable[[], T]) -> T:
        """What a call returns in the first process, sent to all; so is a Moli error."""
        ...

    def wait(self) -> None:
        """Until all processes have come here."""
        ...

    def reseed(self, seed: int, step: int) -> None:
        """Have each process draw other numbers, but the same ones whenever it takes this step."""
        ...

    def shard(self, loss: torch.nn.Module, dtype: torch.dtype) -> MasterWeights:
        """Shard the module's `model` over the processes; returns what is trained of it."""
        ...

    def unsharded(self, loss: torch.nn.Module, call: Callable[[], T]) -> T:
        """Call what runs the module's model by another way than the module."""
        ...

    def gather_state(self, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """A state with each tensor whole, wherever its parts are; only the first process has it."""
        ...

    def gather_model(self, model: torch.nn.Module, dtype: torch.dtype) -> None:
        """Make the first process's model whole again; no process can train it any more."""
        ...


class Alone:
    """A single process."""

    rank, size = 0, 1

    def micro_batches(self, step: Step, *, split: bool) -> list[tuple[MicroBatch, float]]:  # noqa: ARG002
        return [(micro, 1.0) for micro in step]

    def sum(self, value: float) -> float:
        return value

    def on_rank_zero(self, call: Callable[[], T]) -> T:
        return call()

    def wait(self) -> None:
        """There is nobody to wait for."""

    def reseed(self, seed: int, step: int) -> None:
        """Its one generator runs on, and a checkpoint has its state."""

    def shard(self, loss: torch.nn.Module, dtype: torch.dtype) -> MasterWeights:
        return MasterWeights(loss.get_submodule("model"), dtype)

    def unsharded(self, loss: torch.nn.Module, call: Callable[[], T]) -> T:  # noqa: ARG002
        return call()

    def gather_state(self, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return state

    def gather_model(self, model: torch.nn.Module, dtype: torch.dtype) -> None:
        """It is whole."""
