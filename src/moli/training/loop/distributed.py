"""Several processes that train one model: weights sharded (FSDP2), steps divided among them.

Each transformer layer is one unit and all else another; a unit is whole only while it computes
(Zhao et al. 2023). The processes are started from outside, by torchrun or by Ray, each on a device
of its own, and see the same files.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np
import torch
from torch import distributed

from moli.records.errors import InputError, MoliError
from moli.training.batching.samples import MicroBatch, Step
from moli.training.loop.world import Alone, World
from moli.training.optimization.optimizers import MasterWeights

T = TypeVar("T")


def join() -> World:
    """The processes that this one was started with: those of torchrun or Ray, or it alone."""
    if not distributed.is_initialized():
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return Alone()
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        atexit.register(distributed.destroy_process_group)
    return Processes() if distributed.get_world_size() > 1 else Alone()


class Processes:
    """This process among several. All of them make the same calls here in the same order."""

    def __init__(self) -> None:
        self.rank = distributed.get_rank()
        self.size = distributed.get_world_size()
        self._talk = distributed.new_group(backend="gloo")  # for numbers: no GPU has to wait

    def micro_batches(self, step: Step, *, split: bool) -> list[tuple[MicroBatch, float]]:
        micros = divided(step, self.size) if split else list(step)
        mine = [(each, 1.0) for each in micros[self.rank :: self.size]]
        most = -(-len(micros) // self.size)
        # Every process takes part in every pass, if with nothing of its own.
        return mine + [(micros[0], 0.0)] * (most - len(mine))

    def sum(self, value: float) -> float:
        summed = torch.tensor(value, dtype=torch.float64)
        distributed.all_reduce(summed, group=self._talk)
        return float(summed)

    def on_rank_zero(self, call: Callable[[], T]) -> T:
        told: list[Any] = [None]
        if self.rank == 0:
            try:
                told[0] = call()
            except MoliError as error:  # for all, or the others would wait for ever
                told[0] = error
        distributed.broadcast_object_list(told, group=self._talk)
        if isinstance(told[0], MoliError):
            raise told[0]
        result: T = told[0]
        return result

    def wait(self) -> None:
        distributed.barrier(group=self._talk)

    def reseed(self, seed: int, step: int) -> None:
        drawn = np.random.SeedSequence((seed, step, self.rank)).generate_state(1, np.uint64)
        torch.manual_seed(int(drawn[0]))

    def shard(self, loss: torch.nn.Module, dtype: torch.dtype) -> MasterWeights:
        """The masters are this process's shards: they are cast when they are gathered.

        Raises:
            InputError: the model has something that cannot be trained in parts.
        """
        model = loss.get_submodule("model")
        _check(model)
        for each in model.parameters():
            if each.requires_grad:
                each.data = each.data.float()
        _shard(loss, dtype)
        return MasterWeights(model, torch.float32)

    def unsharded(self, loss: torch.nn.Module, call: Callable[[], T]) -> T:
        root: Any = loss
        result: T = root.unsharded(call)
        root.reshard()  # a root stays whole otherwise, and would not see new weights
        return result

    def gather_state(self, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        gathered = {}
        for name, part in state.items():
            tensor = _whole(part)
            if self.rank == 0:
                gathered[name] = tensor.cpu()
        return gathered

    def gather_model(self, model: torch.nn.Module, dtype: torch.dtype) -> None:
        made: dict[torch.nn.Parameter, torch.nn.Parameter] = {}  # tied weights stay tied
        for module in model.modules():
            for name, part in module._parameters.items():
                if part is None:
                    continue
                if part not in made:
                    tensor = _whole(part).detach()
                    if self.rank:
                        tensor = torch.empty(0)
                    made[part] = torch.nn.Parameter(tensor.to("cpu", dtype), part.requires_grad)
                module._parameters[name] = made[part]


def divided(step: Step, parts: int) -> list[MicroBatch]:
    """A step's micro-batches, split until their number is a multiple of `parts`, if they can be.

    Samples stand in order of size, so taking every other one makes halves that cost the same.
    """
    micros = list(step)
    while len(micros) % parts:
        at = max(range(len(micros)), key=lambda each: len(micros[each]))
        if len(micros[at]) == 1:
            break
        micros[at : at + 1] = [micros[at][::2], micros[at][1::2]]
    return micros


def _whole(tensor: torch.Tensor) -> torch.Tensor:
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _check(model: torch.nn.Module) -> None:
    batch_norm = torch.nn.modules.batchnorm._BatchNorm
    if any(isinstance(each, batch_norm) for each in model.modules()):
        raise InputError(
            "this model has batch normalisation, which would see only a part of each batch",
            where="base",
            fix="Train it in one process.",
        )
    if any(not each.is_floating_point() for each in model.parameters()):
        raise InputError(
            "4-bit weights cannot be sharded across processes",
            where="method",
            fix="Use method: lora, or train in one process.",
        )


def _shard(loss: torch.nn.Module, dtype: torch.dtype) -> None:
    """Make every process's weights the first's, and leave in each its part of them."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import (
        MixedPrecisionPolicy,
        fully_shard,
        register_fsdp_forward_method,
    )

    with torch.no_grad():
        for each in loss.state_dict(keep_vars=True).values():
            distributed.broadcast(each.data, 0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    mesh = init_device_mesh(device, (distributed.get_world_size(),))
    policy = MixedPrecisionPolicy(
        param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    for layer in _layers(loss):
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(loss, mesh=mesh, mp_policy=policy)
    root: Any = loss
    root.unsharded = lambda call: call()
    register_fsdp_forward_method(root, "unsharded")


def _layers(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The layers of transformers' models, which may be recomputed, and so are called as modules."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    return [
        each
        for each in model.modules()
        if isinstance(each, GradientCheckpointingLayer) and any(True for _ in each.parameters())
    ]
