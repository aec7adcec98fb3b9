"""Several processes that train one model: weights sharded (FSDP2), steps divided among them.

Each transformer layer is one unit and all else another; a unit is whole only while it computes
(Zhao et al. 2023). The processes are started from outside, by torchrun or by Ray, each on a device
of its own, and see the same files.
"""

from __future__ import annotations

import atexit
import os
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import numpy as np
import torch
from torch import distributed

from moli.records.errors import InputError, MoliError
from moli.training.batching.samples import Sample
from moli.training.loop.world import SingleProcess, WeightedMicroBatch, World
from moli.training.optimization.optimizers import MasterWeights

T = TypeVar("T")


def join_processes() -> World:
    """Join the processes that torchrun or Ray started with this one; else a world of one."""
    if not distributed.is_initialized():
        if int(os.environ.get("WORLD_SIZE", "1")) == 1:
            return SingleProcess()
        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        distributed.init_process_group("nccl" if torch.cuda.is_available() else "gloo")
        atexit.register(distributed.destroy_process_group)
    return ProcessGroup() if distributed.get_world_size() > 1 else SingleProcess()


class ProcessGroup:
    """This process among several. All of them make the same calls here in the same order."""

    def __init__(self) -> None:
        self.rank = distributed.get_rank()
        self.size = distributed.get_world_size()
        self._cpu_group = distributed.new_group(backend="gloo")  # so that no GPU has to wait

    def micro_batches(
        self, step: Sequence[Sequence[Sample]], *, split: bool
    ) -> list[WeightedMicroBatch]:
        micro_batches = split_micro_batches(step, self.size) if split else list(step)
        own = [WeightedMicroBatch(each, 1.0) for each in micro_batches[self.rank :: self.size]]
        most = -(-len(micro_batches) // self.size)
        # Every process takes part in every pass, if with nothing of its own.
        return own + [WeightedMicroBatch(micro_batches[0], 0.0)] * (most - len(own))

    def sum(self, value: float) -> float:
        summed = torch.tensor(value, dtype=torch.float64)
        distributed.all_reduce(summed, group=self._cpu_group)
        return float(summed)

    def on_rank_zero(self, call: Callable[[], T]) -> T:
        outcome: list[Any] = [None]
        if self.rank == 0:
            try:
                outcome[0] = call()
            except MoliError as error:  # for all, or the others would wait for ever
                outcome[0] = error
        distributed.broadcast_object_list(outcome, group=self._cpu_group)
        if isinstance(outcome[0], MoliError):
            raise outcome[0]
        result: T = outcome[0]
        return result

    def barrier(self) -> None:
        distributed.barrier(group=self._cpu_group)

    def reseed(self, seed: int, step: int) -> None:
        sequence = np.random.SeedSequence((seed, step, self.rank))
        torch.manual_seed(int(sequence.generate_state(1, np.uint64)[0]))

    def shard(self, loss: torch.nn.Module, dtype: torch.dtype) -> MasterWeights:
        """Shard the module's `model`, and return this process's shards of its trained weights.

        The shards are in float32, and are cast to `dtype` when a layer's weights are gathered.

        Raises:
            InputError: the model has batch normalization or 4-bit weights, which cannot be sharded.
        """
        model = loss.get_submodule("model")
        _check_shardable(model)
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.data = parameter.data.float()
        _fully_shard(loss, dtype)
        return MasterWeights(model, torch.float32)

    def call_unsharded(self, loss: torch.nn.Module, call: Callable[[], T]) -> T:
        root: Any = loss
        result: T = root.unsharded(call)
        root.reshard()  # a root stays whole otherwise, and would not see new weights
        return result

    def gather_state(self, state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        gathered = {}
        for name, shard in state.items():
            tensor = _full_tensor(shard)
            if self.rank == 0:
                gathered[name] = tensor.cpu()
        return gathered

    def gather_model(self, model: torch.nn.Module, dtype: torch.dtype) -> None:
        gathered: dict[torch.nn.Parameter, torch.nn.Parameter] = {}  # tied weights stay tied
        for module in model.modules():
            for name, shard in module._parameters.items():
                if shard is None:
                    continue
                if shard not in gathered:
                    tensor = _full_tensor(shard).detach()
                    if self.rank:
                        tensor = torch.empty(0)
                    gathered[shard] = torch.nn.Parameter(
                        tensor.to("cpu", dtype), shard.requires_grad
                    )
                module._parameters[name] = gathered[shard]


def split_micro_batches(step: Sequence[Sequence[T]], processes: int) -> list[Sequence[T]]:
    """A step's micro-batches, split until each process gets as many, if they can be.

    Samples stand in order of size, so taking every other one makes halves that cost the same.
    """
    micro_batches = list(step)
    while len(micro_batches) % processes:
        longest = max(range(len(micro_batches)), key=lambda number: len(micro_batches[number]))
        samples = micro_batches[longest]
        if len(samples) == 1:
            break
        micro_batches[longest : longest + 1] = [samples[::2], samples[1::2]]
    return micro_batches


def _full_tensor(tensor: torch.Tensor) -> torch.Tensor:
    """A tensor gathered from its shards; a tensor that is not sharded is returned unchanged."""
    from torch.distributed.tensor import DTensor

    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def _check_shardable(model: torch.nn.Module) -> None:
    """Raise an InputError if the model has batch normalization or 4-bit weights."""
    batch_norm = torch.nn.modules.batchnorm._BatchNorm
    if any(isinstance(module, batch_norm) for module in model.modules()):
        raise InputError(
            "this model has batch normalisation, which would see only a part of each batch",
            where="base",
            fix="Train it in one process.",
        )
    if any(not parameter.is_floating_point() for parameter in model.parameters()):
        raise InputError(
            "4-bit weights cannot be sharded across processes",
            where="method",
            fix="Use method: lora, or train in one process.",
        )


def _fully_shard(loss: torch.nn.Module, dtype: torch.dtype) -> None:
    """Give every process the first one's weights, and keep in each its shard of them."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import (
        MixedPrecisionPolicy,
        fully_shard,
        register_fsdp_forward_method,
    )

    with torch.no_grad():
        for tensor in loss.state_dict(keep_vars=True).values():
            distributed.broadcast(tensor.data, 0)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    mesh = init_device_mesh(device, (distributed.get_world_size(),))
    policy = MixedPrecisionPolicy(
        param_dtype=dtype, reduce_dtype=torch.float32, cast_forward_inputs=False
    )
    for layer in _transformer_layers(loss):
        fully_shard(layer, mesh=mesh, mp_policy=policy)
    fully_shard(loss, mesh=mesh, mp_policy=policy)
    root: Any = loss
    root.unsharded = lambda call: call()
    register_fsdp_forward_method(root, "unsharded")


def _transformer_layers(model: torch.nn.Module) -> list[torch.nn.Module]:
    """The layers of transformers' models, which may be recomputed, and so are called as modules."""
    from transformers.modeling_layers import GradientCheckpointingLayer

    return [
        module
        for module in model.modules()
        if isinstance(module, GradientCheckpointingLayer) and any(True for _ in module.parameters())
    ]
