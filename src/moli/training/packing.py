"""Packing is used only if it is shown, on the run's own model and samples, to change nothing."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch

from moli.training.batching.samples import Sample
from moli.training.kernels import attention
from moli.training.optimization.optimizers import cast_parameters, count_parameters
from moli.training.recipes.method_table import METHODS
from moli.training.tasks.base.task import Task
from moli.training.tasks.base.wrapped_models import evaluation_mode, unwrapped_model

_PROBES, _TOKENS = 6, 2048
# Of a sample's loss against the mean.
_TOLERANCE = {torch.float32: 3e-5, torch.bfloat16: 1e-2}
# What only a faulty kernel goes beyond, between precisions.
_COARSE = 0.2
# Parameters up to which a model is looked at in float32, whatever it is computed in: in bfloat16
# two ways of attention, both right, may differ by 6 % of a loss once a model is well trained.
_WIDENED = 1 << 30


@dataclass(frozen=True, slots=True)
class PackingCheck:
    """What was found.

    Attributes:
        holds: whether samples may be packed end to end.
        alone, packed: mean loss of a probe, each by itself in torch's way and all end to end.
        leak: by how much of the mean a sample's loss moved when every token of its neighbours was
            changed.
        reason: why not, if it does not hold.
    """

    holds: bool
    alone: float = 0.0
    packed: float = 0.0
    leak: float = 0.0
    reason: str = ""


def can_pack(task: Task) -> bool:
    """Whether the task and the training method allow packing at all."""
    method = METHODS[task.recipe.method or "full"]
    return task.supports_packing and not method.adds_virtual_tokens


def check_packing(
    task: Task,
    model: torch.nn.Module,
    samples: Sequence[Sample],
    precision: torch.dtype | None = None,
) -> PackingCheck:
    """Compare the loss of a few samples one by one and end to end, and look for leaks between them.

    The second test does not depend on precision: with the same shapes, a sample's loss is the same
    number to the last bit as long as it sees nothing of its neighbours. So it is also made with
    what will compute, which on a GPU may be another kernel.

    Args:
        precision: what the model will be computed in; by default what it is in.
    """
    precision = precision or next(model.parameters()).dtype
    probes = _probes(samples)
    if reason := _unable(task, model, probes):
        return PackingCheck(False, reason=reason)
    try:
        wide = torch.float32 if _widens(model) else precision
        with _in_precision(model, wide), evaluation_mode(model):
            with _torch_attention(model):
                alone = [float(_losses(task, model, [each], packed=False)) for each in probes]
            packed, leak = _packed(task, model, probes)
        computed, moved = packed, leak
        if precision != wide:
            with _in_precision(model, precision), evaluation_mode(model):
                computed, moved = _packed(task, model, probes)
    except (TypeError, AttributeError, NotImplementedError, ValueError, RuntimeError) as error:
        return PackingCheck(False, reason=f"{type(error).__name__}: {str(error).splitlines()[0]}")
    mean = max(sum(alone) / len(alone), 1e-6)
    off, coarse = _apart(alone, packed) / mean, _apart(packed, computed) / mean
    leak = max(leak, moved) / mean
    holds = off <= _TOLERANCE.get(wide, 1e-4) and coarse <= _COARSE and leak <= 1e-6
    reason = "" if holds else f"relative error of the loss {off + coarse:.2g}, leak {leak:.2g}"
    return PackingCheck(holds, mean, sum(packed) / len(packed), leak, reason)


def _apart(some: Sequence[float], others: Sequence[float]) -> float:
    return float(np.abs(np.subtract(some, others)).max())  # no number where one is none


def _unable(task: Task, model: torch.nn.Module, probes: Sequence[Sample]) -> str:
    """Why packing cannot be proven; "" where it can."""
    if not task.supports_packing:
        return "this task does not pack"
    if unwrapped_model(model).config._attn_implementation != attention.NAME:
        return "this model's attention is not computed by segments"
    return "" if len(probes) > 1 else "two samples are needed to try it"


def _widens(model: torch.nn.Module) -> bool:
    """Whether it can be looked at in float32: weights in 4 bits are computed with as they are."""
    floating = all(each.is_floating_point() for each in model.parameters())
    return floating and count_parameters(model.parameters()) <= _WIDENED


@contextmanager
def _in_precision(model: torch.nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Its weights in `dtype`, and afterwards as they were: those that lose by it are kept.

    It encloses inference mode: what is converted within could not be trained afterwards.
    """
    floating = [each for each in model.parameters() if each.is_floating_point()]
    before = {each: each.dtype for each in floating}
    kept = {each: each.data for each in floating if each.itemsize > dtype.itemsize}
    try:
        cast_parameters(model, dtype)
        yield
    finally:
        for each, own in before.items():
            each.data = kept[each] if each in kept else each.data.to(own)


@contextmanager
def _torch_attention(model: torch.nn.Module) -> Iterator[None]:
    """Attention as torch computes it, to compare with."""
    inner = unwrapped_model(model)
    before = inner.config._attn_implementation
    inner.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        inner.set_attn_implementation(before)


def _probes(samples: Sequence[Sample]) -> list[Sample]:
    """A few samples of different sizes that together are soon computed."""
    spread = sorted(samples[:256], key=lambda each: each.size)
    chosen: list[Sample] = []
    tokens = 0
    for each in spread[:: max(1, len(spread) // _PROBES)]:
        if each.sequences and (len(chosen) < 2 or tokens + each.size <= _TOKENS):
            chosen.append(each)
            tokens += each.size
    return chosen


def _losses(
    task: Task, model: torch.nn.Module, samples: list[Sample], *, packed: bool
) -> torch.Tensor:
    return task.output_checksums(task.forward(model, samples, packed=packed), samples)


@contextmanager
def _in_order() -> Iterator[None]:
    """Sums are added up in one order; a GPU by default does so in any, as threads come."""
    before = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("warn")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_deterministic_debug_mode(before)


def _packed(task: Task, model: torch.nn.Module, probes: list[Sample]) -> tuple[list[float], float]:
    """The losses end to end, and the leak: the largest move of the first or the last of them when
    all others' tokens are changed."""
    moved = 0.0
    with _in_order():
        before = _losses(task, model, probes, packed=True)
        for kept in (0, len(probes) - 1):
            changed = [each if i == kept else _other(each) for i, each in enumerate(probes)]
            after = _losses(task, model, changed, packed=True)
            moved = max(moved, float((before[kept] - after[kept]).abs()))
    return before.tolist(), moved


def _other(sample: Sample) -> Sample:
    """The same shape with its tokens in reverse: other words in every place but the middle one."""
    reversed_parts = tuple(np.ascontiguousarray(part[::-1]) for part in sample.sequences)
    return dataclasses.replace(sample, sequences=reversed_parts)
