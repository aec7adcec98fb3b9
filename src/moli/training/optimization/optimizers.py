"""Optimizers: master weights, parameter groups, learning rate schedule, AdamW, Muon."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

_NOT_CAST = torch.nn.modules.batchnorm._BatchNorm  # keeps running statistics, which need float32
# Buffers that training changes, if not by a gradient; they belong to the state of the weights.
_RUNNING_STATISTICS = ("running_mean", "running_var", "num_batches_tracked")


class MasterWeights:
    """A model's weights in the precision of the computation, and a float32 copy of trained ones.

    In bfloat16 a weight cannot change by less than a 256th of itself, so the copy takes the steps
    and the sums of gradients (Micikevicius et al. 2018, section 3.1). A model in float32 is its
    own copy.

    Args:
        part: text that names of trained parameters have, such as an adapter's; others are left to
            somebody else.

    Attributes:
        names: names of the trained parameters.
        masters: trained parameters in float32, in the same order.
    """

    def __init__(self, model: torch.nn.Module, dtype: torch.dtype, *, part: str = "") -> None:
        trained = {
            name: parameter
            for name, parameter in model.named_parameters()
            if parameter.requires_grad and part in name
        }
        self.names = list(trained)
        self._working = list(trained.values())
        self._has_copies = dtype != torch.float32
        self.masters = [
            parameter.detach().float().clone().requires_grad_() if self._has_copies else parameter
            for parameter in self._working
        ]
        if self._has_copies:
            cast_parameters(model, dtype)
        self._statistics = {
            name: buffer
            for name, buffer in model.named_buffers()
            if name.endswith(_RUNNING_STATISTICS)
        }

    def accumulate(self) -> None:
        """Add the gradients of a backward pass to the masters' gradients."""
        if not self._has_copies:
            return
        for master, working in zip(self.masters, self._working, strict=True):
            if working.grad is None:
                continue
            if master.grad is None:
                master.grad = working.grad.float()
            else:
                master.grad += working.grad
            working.grad = None

    @torch.no_grad()
    def copy_to_model(self) -> None:
        """Copy the masters' values to the model."""
        if self._has_copies:
            torch._foreach_copy_(list(self._working), self.masters)

    def zero_grad(self) -> None:
        """Drop all gradients."""
        for master in self.masters:
            master.grad = None

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Trained parameters in float32, and running statistics, by name."""
        return {
            name: master.detach() for name, master in zip(self.names, self.masters, strict=True)
        } | self._statistics

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Set the masters and the model to what `state_dict` returned."""
        for name, master in zip(self.names, self.masters, strict=True):
            master.copy_(shard_like(master, state[name]))
        for name, statistics in self._statistics.items():
            statistics.copy_(state[name])
        self.copy_to_model()

    @torch.no_grad()
    def clip_gradients(self, max_norm: float) -> float:
        """Scale all gradients so that their joint norm is at most `max_norm`.

        Returns:
            The norm before scaling.
        """
        gradients = [master.grad for master in self.masters if master.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        torch.nn.utils.clip_grads_with_norm_(
            [master for master in self.masters if master.grad is not None], max_norm, norm
        )
        return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)


def shard_like(target: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    """A tensor, or this process's part of it if `target` is sharded over several processes."""
    if not hasattr(target, "device_mesh") or target.shape != whole.shape:
        return whole
    from torch.distributed.tensor import distribute_tensor

    mesh: Any = target.device_mesh
    placements: Any = getattr(target, "placements", None)
    part: torch.Tensor = distribute_tensor(
        whole.to(target.device), mesh, placements, src_data_rank=None
    )
    return part


def cast_parameters(model: torch.nn.Module, dtype: torch.dtype) -> None:
    """Convert parameters to `dtype`, except those of batch normalization and 4-bit weights.

    Buffers stay as they are: rotary angles would lose their positions in 8 bits of precision.
    """
    for module in model.modules():
        if not isinstance(module, _NOT_CAST):
            for parameter in module.parameters(recurse=False):
                if parameter.is_floating_point():  # 4-bit weights are not
                    parameter.data = parameter.data.to(dtype)


def learning_rate_factor(step: int, steps: int, warmup: float = 0.06) -> float:
    """The learning rate of a step (from 0) as a share of the peak: linear rise, then down to 0.

    Args:
        warmup: share of the steps in which it rises.
    """
    rising_steps = max(1, round(steps * warmup))
    if step < rising_steps:
        return (step + 1) / rising_steps
    return max(0.0, (steps - step) / max(1, steps - rising_steps))


class Optimizers:
    """One optimizer, or Muon for the matrices inside a model and AdamW for the rest.

    Args:
        kind: "adamw" or "muon".
        learning_rate: peak learning rate.
        pretraining: whether weights begin at random: then AdamW averages over fewer steps, and
            weight decay is stronger.
        decay: weight decay of matrices; by default 0.01, or 0.1 in pretraining.
        epsilon: AdamW's, added to the root of the squared gradients' mean.
    """

    def __init__(
        self,
        weights: MasterWeights,
        kind: str,
        learning_rate: float,
        *,
        pretraining: bool = False,
        decay: float | None = None,
        epsilon: float = 1e-8,
    ) -> None:
        named = list(zip(weights.names, weights.masters, strict=True))
        inner = [each for name, each in named if kind == "muon" and _is_inner_matrix(name, each)]
        inner_ids = set(map(id, inner))
        matrices = [each for _, each in named if each.ndim > 1 and id(each) not in inner_ids]
        vectors = [each for _, each in named if each.ndim <= 1]
        if decay is None:
            decay = 0.1 if pretraining else 0.01
        groups = [
            {"params": matrices, "weight_decay": decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        self._optimizers: list[torch.optim.Optimizer] = []
        if matrices or vectors:
            self._optimizers.append(
                torch.optim.AdamW(
                    [group for group in groups if group["params"]],
                    lr=learning_rate,
                    betas=(0.9, 0.95 if pretraining else 0.999),
                    eps=epsilon,
                    fused=True,
                )
            )
        if inner:
            self._optimizers.append(
                torch.optim.Muon(
                    inner,
                    lr=learning_rate,
                    weight_decay=decay,
                    adjust_lr_fn="match_rms_adamw",
                )
            )
        self._peak = learning_rate

    def step(self, factor: float) -> float:
        """Update the weights at a share of the peak learning rate; returns the rate."""
        rate = self._peak * factor
        for optimizer in self._optimizers:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
        return rate

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Every tensor that the optimizers keep, named OPTIMIZER.PARAMETER.KEY by indices."""
        return {
            f"{number}.{index}.{key}": torch.as_tensor(value)
            for number, optimizer in enumerate(self._optimizers)
            for index, state in optimizer.state_dict()["state"].items()
            for key, value in state.items()
        }

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        """Set the optimizers to what `state_dict` returned."""
        for number, optimizer in enumerate(self._optimizers):
            parameters = [each for group in optimizer.param_groups for each in group["params"]]
            by_index: dict[int, dict[str, Any]] = {}
            for name, value in state.items():
                owner, index, key = name.split(".", 2)
                if int(owner) == number:
                    shard = shard_like(parameters[int(index)], value)
                    by_index.setdefault(int(index), {})[key] = shard
            optimizer.load_state_dict({**optimizer.state_dict(), "state": by_index})


def _is_inner_matrix(name: str, weight: torch.Tensor) -> bool:
    """Whether a weight is a matrix between hidden states, not an embedding table or a head.

    Muon updates only these matrices (Jordan et al. 2024).
    """
    outer = ("embed", "lm_head", "classifier", "score", "qa_outputs", "shared", "wte", "wpe")
    return weight.ndim == 2 and not any(part in name for part in outer)


def count_parameters(parameters: Iterable[torch.Tensor]) -> int:
    """The number of elements in all parameters."""
    return sum(parameter.numel() for parameter in parameters)
