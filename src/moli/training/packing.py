"""The packing check: packing is used only if it changes nothing on the run's model and samples."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch

from moli.training.batching.samples import Sample
from moli.training.kernels import attention
from moli.training.methods import method_of
from moli.training.optimization.optimizers import cast_parameters, count_parameters
from moli.training.tasks.base.task import Task
from moli.training.tasks.base.wrapped_models import evaluation_mode, unwrapped_model

_PROBES, _PROBE_TOKENS = 6, 2048  # samples that are compared, and their tokens, at most
# Largest difference of a sample's loss, as a share of the mean.
_TOLERANCE = {torch.float32: 3e-5, torch.bfloat16: 1e-2}
# Largest difference between precisions, which only a faulty kernel exceeds.
_PRECISION_TOLERANCE = 0.2
# Parameters up to which a model is checked in float32, whatever it is computed in: in bfloat16 two
# ways of attention, both right, may differ by 6 % of a loss once a model is well trained.
_MOST_FLOAT32_PARAMETERS = 1 << 30


class Packable(Protocol):
    """A task, or a part of one, for which the packing check can be made."""

    @property
    def supports_packing(self) -> bool:
        """Whether sequences may be packed if the model allows it."""

    def forward(
        self, model: torch.nn.Module, samples: Sequence[Sample], *, packed: bool = False
    ) -> Any:
        """Outputs for samples."""

    def output_checksums(self, outputs: Any, samples: Sequence[Sample]) -> torch.Tensor:
        """A positive number for each sample that depends on its own outputs alone: [samples]."""


@dataclass(frozen=True, slots=True)
class PackingCheck:
    """The result of a packing check.

    Attributes:
        holds: whether samples may be packed end to end.
        alone: mean loss of the probe samples, computed one by one with torch's attention.
        packed: their mean loss, computed end to end.
        leak: largest change of a sample's loss when every token of its neighbors was changed, as a
            share of the mean.
        reason: why packing changes something, or could not be checked; "" if it holds.
    """

    holds: bool
    alone: float = 0.0
    packed: float = 0.0
    leak: float = 0.0
    reason: str = ""


@dataclass(frozen=True, slots=True)
class _PackedLosses:
    """Losses of packed probes, and the largest change of one when its neighbors were changed."""

    losses: list[float]
    leak: float


def can_pack(task: Task) -> bool:
    """Whether the task and the training method allow packing at all."""
    return task.supports_packing and not method_of(task.recipe).adds_virtual_tokens


def check_packing(
    task: Packable,
    model: torch.nn.Module,
    samples: Sequence[Sample],
    precision: torch.dtype | None = None,
) -> PackingCheck:
    """Compare the loss of a few samples one by one and end to end, and look for leaks between them.

    The second test does not depend on precision: with the same shapes, a sample's loss is the same
    number to the last bit as long as it sees nothing of its neighbors. So it is also made in the
    precision of the computation, in which a GPU may use another kernel.

    Args:
        precision: type that the model will be computed in; by default its present type.
    """
    precision = precision or next(model.parameters()).dtype
    probes = _choose_probes(samples)
    if reason := _obstacle(task, model, probes):
        return PackingCheck(False, reason=reason)
    try:
        exact = torch.float32 if _fits_in_float32(model) else precision
        with _in_precision(model, exact), evaluation_mode(model):
            with _torch_attention(model):
                alone = [float(_losses(task, model, [each], packed=False)) for each in probes]
            packed = _packed_losses(task, model, probes)
        computed = packed
        if precision != exact:
            with _in_precision(model, precision), evaluation_mode(model):
                computed = _packed_losses(task, model, probes)
    except (TypeError, AttributeError, NotImplementedError, ValueError, RuntimeError) as error:
        return PackingCheck(False, reason=f"{type(error).__name__}: {str(error).splitlines()[0]}")
    mean = max(sum(alone) / len(alone), 1e-6)
    error_of_packing = _largest_difference(alone, packed.losses) / mean
    error_of_precision = _largest_difference(packed.losses, computed.losses) / mean
    leak = max(packed.leak, computed.leak) / mean
    holds = (
        error_of_packing <= _TOLERANCE.get(exact, 1e-4)
        and error_of_precision <= _PRECISION_TOLERANCE
        and leak <= 1e-6
    )
    relative = error_of_packing + error_of_precision
    reason = "" if holds else f"relative error of the loss {relative:.2g}, leak {leak:.2g}"
    return PackingCheck(holds, mean, sum(packed.losses) / len(packed.losses), leak, reason)


def _largest_difference(some: Sequence[float], others: Sequence[float]) -> float:
    """Largest difference between numbers at the same index; NaN if one of them is NaN."""
    return float(np.abs(np.subtract(some, others)).max())


def _obstacle(task: Packable, model: torch.nn.Module, probes: Sequence[Sample]) -> str:
    """Why packing cannot be checked; "" if it can."""
    if not task.supports_packing:
        return "this task does not pack"
    if unwrapped_model(model).config._attn_implementation != attention.NAME:
        return "this model's attention is not computed by segments"
    return "" if len(probes) > 1 else "two samples are needed to try it"


def _fits_in_float32(model: torch.nn.Module) -> bool:
    """Whether to check in float32: False for large models and for those with 4-bit weights."""
    is_floating = all(each.is_floating_point() for each in model.parameters())
    return is_floating and count_parameters(model.parameters()) <= _MOST_FLOAT32_PARAMETERS


@contextmanager
def _in_precision(model: torch.nn.Module, dtype: torch.dtype) -> Iterator[None]:
    """Convert the model's weights to `dtype`, and back afterwards without any loss.

    It has to enclose inference mode: weights converted within could not be trained afterwards.
    """
    floating = [each for each in model.parameters() if each.is_floating_point()]
    dtypes = {parameter: parameter.dtype for parameter in floating}
    # Narrower weights lose digits, so the wider ones are kept.
    originals = {each: each.data for each in floating if each.itemsize > dtype.itemsize}
    try:
        cast_parameters(model, dtype)
        yield
    finally:
        for parameter, original_dtype in dtypes.items():
            if parameter in originals:
                parameter.data = originals[parameter]
            else:
                parameter.data = parameter.data.to(original_dtype)


@contextmanager
def _torch_attention(model: torch.nn.Module) -> Iterator[None]:
    """Attention as torch computes it, to compare with."""
    inner = unwrapped_model(model)
    implementation = inner.config._attn_implementation
    inner.set_attn_implementation("sdpa")
    try:
        yield
    finally:
        inner.set_attn_implementation(implementation)


def _choose_probes(samples: Sequence[Sample]) -> list[Sample]:
    """A few samples of different sizes that together are computed quickly."""
    by_size = sorted(samples[:256], key=lambda each: each.size)
    probes: list[Sample] = []
    tokens = 0
    for sample in by_size[:: max(1, len(by_size) // _PROBES)]:
        fits = len(probes) < 2 or tokens + sample.size <= _PROBE_TOKENS
        if sample.sequences and fits:
            probes.append(sample)
            tokens += sample.size
    return probes


def _losses(
    task: Packable, model: torch.nn.Module, samples: list[Sample], *, packed: bool
) -> torch.Tensor:
    """Loss of each sample, or a checksum if losses depend on other samples: [samples]."""
    return task.output_checksums(task.forward(model, samples, packed=packed), samples)


@contextmanager
def _deterministic() -> Iterator[None]:
    """Have sums added up in a fixed order; a GPU by default adds in the order of its threads."""
    mode = torch.get_deterministic_debug_mode()
    torch.set_deterministic_debug_mode("warn")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        torch.set_deterministic_debug_mode(mode)


def _packed_losses(task: Packable, model: torch.nn.Module, probes: list[Sample]) -> _PackedLosses:
    """Losses end to end, and the leak: the first and the last sample are kept in turn while all
    others' tokens are changed."""
    leak = 0.0
    with _deterministic():
        losses = _losses(task, model, probes, packed=True)
        for kept in (0, len(probes) - 1):
            changed = [each if n == kept else _reversed(each) for n, each in enumerate(probes)]
            changed_losses = _losses(task, model, changed, packed=True)
            leak = max(leak, float((losses[kept] - changed_losses[kept]).abs()))
    return _PackedLosses(losses.tolist(), leak)


def _reversed(sample: Sample) -> Sample:
    """A sample of the same shape with its tokens in reverse, so that all but the middle change."""
    backwards = tuple(np.ascontiguousarray(tokens[::-1]) for tokens in sample.sequences)
    return dataclasses.replace(sample, sequences=backwards)
