"""Optimisers: master weights, parameter groups, schedule, AdamW, Muon."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

_NOT_CAST = torch.nn.modules.batchnorm._BatchNorm  # keeps running statistics, which need float32
# They are learnt, if not by a gradient, and so belong to the state of the weights.
_RUNNING = ("running_mean", "running_var", "num_batches_tracked")


class MasterWeights:
    """A model's weights in the precision of the computation, and what is trained in float32.

    In bfloat16 a weight cannot change by less than a 256th of itself, so a float32 copy of each
    trained weight takes the steps and the sums of gradients (Micikevicius et al. 2018, sec. 3.1).
    """

    def __init__(self, model: torch.nn.Module, dtype: torch.dtype) -> None:
        named = [(name, each) for name, each in model.named_parameters() if each.requires_grad]
        self.names = [name for name, _ in named]
        self._working = [each for _, each in named]
        self._split = dtype != torch.float32
        self.masters = [
            each.detach().float().clone().requires_grad_() if self._split else each
            for each in self._working
        ]
        if self._split:
            cast_parameters(model, dtype)
        self._running = {
            name: each for name, each in model.named_buffers() if name.endswith(_RUNNING)
        }

    def accumulate(self) -> None:
        """Add the gradients of a backward pass to the masters'."""
        if not self._split:
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
        """Bring the masters' values to the model."""
        if self._split:
            torch._foreach_copy_(list(self._working), self.masters)

    def zero_grad(self) -> None:
        for master in self.masters:
            master.grad = None

    def state_dict(self) -> dict[str, torch.Tensor]:
        return {
            name: master.detach() for name, master in zip(self.names, self.masters, strict=True)
        } | self._running

    @torch.no_grad()
    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        for name, master in zip(self.names, self.masters, strict=True):
            master.copy_(_laid_as(master, state[name]))
        for name, running in self._running.items():
            running.copy_(state[name])
        self.copy_to_model()

    @torch.no_grad()
    def clip_gradients(self, most: float) -> float:
        """Scale all gradients so that their joint norm is at most `most`; returns it as it was."""
        gradients = [each.grad for each in self.masters if each.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        torch.nn.utils.clip_grads_with_norm_(
            [each for each in self.masters if each.grad is not None], most, norm
        )
        return float(norm.full_tensor() if hasattr(norm, "full_tensor") else norm)


def _laid_as(other: torch.Tensor, whole: torch.Tensor) -> torch.Tensor:
    """A tensor, or the part of it that belongs here where `other` lies in several processes."""
    if not hasattr(other, "device_mesh") or other.shape != whole.shape:
        return whole
    from torch.distributed.tensor import distribute_tensor

    mesh: Any = other.device_mesh
    placements: Any = getattr(other, "placements", None)
    part: torch.Tensor = distribute_tensor(
        whole.to(other.device), mesh, placements, src_data_rank=None
    )
    return part


def cast_parameters(model: torch.nn.Module, dtype: torch.dtype) -> None:
    """Parameters in `dtype`; buffers stay, as rotary angles lose their places in 8 bits."""
    for module in model.modules():
        if not isinstance(module, _NOT_CAST):
            for parameter in module.parameters(recurse=False):
                if parameter.is_floating_point():  # weights in 4 bits are not
                    parameter.data = parameter.data.to(dtype)


def learning_rate_factor(step: int, steps: int, warmup: float = 0.06) -> float:
    """The learning rate of a step (from 0) as a share of the peak: linear rise, then down to 0."""
    rising = max(1, round(steps * warmup))
    if step < rising:
        return (step + 1) / rising
    return max(0.0, (steps - step) / max(1, steps - rising))


class Optimizers:
    """One optimiser, or Muon for the matrices inside a model and AdamW for the rest.

    Args:
        kind: "adamw" or "muon".
        pretraining: whether weights are new: they forget faster and decay more.
    """

    def __init__(
        self, weights: MasterWeights, kind: str, learning_rate: float, *, pretraining: bool = False
    ) -> None:
        named = list(zip(weights.names, weights.masters, strict=True))
        inside = [each for name, each in named if kind == "muon" and _is_inside(name, each)]
        taken = set(map(id, inside))
        matrices = [each for _, each in named if each.ndim > 1 and id(each) not in taken]
        vectors = [each for _, each in named if each.ndim <= 1]
        decay = 0.1 if pretraining else 0.01
        groups = [
            {"params": matrices, "weight_decay": decay},
            {"params": vectors, "weight_decay": 0.0},
        ]
        self._all: list[torch.optim.Optimizer] = []
        if matrices or vectors:
            self._all.append(
                torch.optim.AdamW(
                    [group for group in groups if group["params"]],
                    lr=learning_rate,
                    betas=(0.9, 0.95 if pretraining else 0.999),
                    fused=True,
                )
            )
        if inside:
            self._all.append(
                torch.optim.Muon(
                    inside,
                    lr=learning_rate,
                    weight_decay=decay,
                    adjust_lr_fn="match_rms_adamw",
                )
            )
        self._highest = learning_rate

    def step(self, share: float) -> float:
        """Update the weights at a share of the peak learning rate; returns the rate."""
        rate = self._highest * share
        for optimizer in self._all:
            for group in optimizer.param_groups:
                group["lr"] = rate
            optimizer.step()
        return rate

    def state_dict(self) -> dict[str, torch.Tensor]:
        """Every tensor that the optimisers keep, by a name of its own."""
        return {
            f"{number}.{index}.{key}": torch.as_tensor(value)
            for number, optimizer in enumerate(self._all)
            for index, kept in optimizer.state_dict()["state"].items()
            for key, value in kept.items()
        }

    def load_state_dict(self, state: dict[str, torch.Tensor]) -> None:
        for number, optimizer in enumerate(self._all):
            moved = [each for group in optimizer.param_groups for each in group["params"]]
            kept: dict[int, dict[str, Any]] = {}
            for name, value in state.items():
                which, index, key = name.split(".", 2)
                if int(which) == number:
                    kept.setdefault(int(index), {})[key] = _laid_as(moved[int(index)], value)
            optimizer.load_state_dict({**optimizer.state_dict(), "state": kept})


def _is_inside(name: str, weight: torch.Tensor) -> bool:
    """A matrix between hidden states, not a table of embeddings nor a head (Jordan et al. 2024)."""
    outer = ("embed", "lm_head", "classifier", "score", "qa_outputs", "shared", "wte", "wpe")
    return weight.ndim == 2 and not any(part in name for part in outer)


def count_parameters(parameters: Iterable[torch.Tensor]) -> int:
    """How many numbers there are in them."""
    return sum(each.numel() for each in parameters)
