"""LoRA's low-rank product, added in place to the frozen layer's output (Hu et al. 2022, 4.1).

PEFT computes the low-rank products apart, then scales and adds the wide result in passes over
memory, which costs a CPU more than the products. Here the forward and the backward pass add them in
place.

Shapes: x [T, in], weight [out, in] (frozen), down (LoRA's A) [r, in], up (B) [out, r].
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from moli.training.kernels.same_code import runs_same_code


@dataclass(frozen=True, slots=True)
class _LayerWeights:
    """The weights of an adapted layer: the frozen ones, LoRA's matrices, and their scale."""

    weight: torch.Tensor
    bias: torch.Tensor | None
    down: torch.Tensor
    up: torch.Tensor
    scale: float

    def arguments(self) -> tuple[Any, ...]:
        """The fields in order, as autograd functions take them: one by one."""
        return self.weight, self.bias, self.down, self.up, self.scale


@dataclass(frozen=True, slots=True)
class _LayerGradients:
    """Gradients by the input (None if it is not needed) and by LoRA's matrices."""

    x: torch.Tensor | None
    down: torch.Tensor
    up: torch.Tensor


class _Linear(torch.autograd.Function):
    """y = x weight' + bias + scale (x down') up'."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, *arguments: Any) -> torch.Tensor:
        """The layer's output y; `arguments` are the fields of `_LayerWeights`."""
        layer = _LayerWeights(*arguments)
        y, low_rank = _multiply(x, layer)
        ctx.scale = layer.scale
        ctx.save_for_backward(x, low_rank, layer.weight, layer.down, layer.up)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        """Gradients of x and LoRA's matrices, from the gradient of y; None for the rest."""
        x, low_rank, weight, down, up = ctx.saved_tensors
        layer = _LayerWeights(weight, None, down, up, ctx.scale)
        by = _gradients(gradient, x, low_rank, layer, needs_x=ctx.needs_input_grad[0])
        return by.x, None, None, by.down, by.up, None


class _GatedLinear(torch.autograd.Function):
    """A layer like `_Linear` whose input is x = activation(gate) * values (Shazeer 2020), [T, in].

    Neither x nor the activated gate is kept: computing them again is cheap, and they would be a
    quarter of all that a model of this kind keeps for its backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any,
        gate: torch.Tensor,
        values: torch.Tensor,
        activation: Callable[[torch.Tensor], torch.Tensor],
        *arguments: Any,
    ) -> torch.Tensor:
        """The layer's output y; `arguments` are the fields of `_LayerWeights`."""
        layer = _LayerWeights(*arguments)
        y, low_rank = _multiply(activation(gate) * values, layer)
        ctx.activation, ctx.scale = activation, layer.scale
        ctx.save_for_backward(gate, values, low_rank, layer.weight, layer.down, layer.up)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        """Gradients of gate, values and LoRA's matrices from that of y; None for the rest."""
        gate, values, low_rank, weight, down, up = ctx.saved_tensors
        layer = _LayerWeights(weight, None, down, up, ctx.scale)
        with torch.enable_grad():
            gate = gate.detach().requires_grad_()
            activated = ctx.activation(gate)
        x = activated.detach() * values
        needs_x = any(ctx.needs_input_grad[:2])
        by = _gradients(gradient, x, low_rank, layer, needs_x=needs_x)
        del x
        by_gate = by_values = None
        if by.x is not None:
            by_values = activated.detach() * by.x
            (by_gate,) = torch.autograd.grad(activated, gate, by.x.mul_(values))
        return by_gate, by_values, None, None, None, by.down, by.up, None


def _multiply(x: torch.Tensor, layer: _LayerWeights) -> tuple[torch.Tensor, torch.Tensor]:
    """The layer's output y, and the scaled low-rank product [T, r] for the backward pass."""
    low_rank = (x @ layer.down.t()).mul_(layer.scale)
    weight = layer.weight.t()
    y = x @ weight if layer.bias is None else torch.addmm(layer.bias, x, weight)
    return y.addmm_(low_rank, layer.up.t()), low_rank


def _gradients(
    by_y: torch.Tensor,
    x: torch.Tensor,
    low_rank: torch.Tensor,
    layer: _LayerWeights,
    *,
    needs_x: bool,
) -> _LayerGradients:
    """Gradients by the input and LoRA's matrices.

    Args:
        by_y: gradient by the result, [T, out].
        low_rank: the scaled low-rank product that `_multiply` returned.
        needs_x: whether to compute the gradient by the input.
    """
    # A product of a long matrix with fewer than 16 columns can cost MKL more than that with the
    # whole weight, so the few are rows wherever they are read.
    by_low_rank = (by_y @ layer.up.t().contiguous().t()).mul_(layer.scale)
    by_x = (by_y @ layer.weight).addmm_(by_low_rank, layer.down) if needs_x else None
    return _LayerGradients(by_x, by_low_rank.t() @ x, (low_rank.t() @ by_y).t())


_apply: Any = _Linear.apply
_apply_gated: Any = _GatedLinear.apply


def fuse_lora_layers(model: torch.nn.Module) -> int:
    """Have PEFT's LoRA layers computed by this module where the result is the same.

    Layers with DoRA or dropout, and those that are not plain linear layers, are left unchanged.

    Returns:
        The number of LoRA layers that were changed.
    """
    from peft.tuners.lora import Linear
    from transformers.models.llama.modeling_llama import LlamaMLP

    fused = 0
    for module in model.modules():
        if isinstance(module, Linear) and _is_plain_lora(module):
            module.forward = _FusedForward(module)  # type: ignore[method-assign]
            fused += 1
    blocks: list[Any] = [each for each in model.modules() if runs_same_code(each, LlamaMLP)]
    for block in blocks:
        if isinstance(block.down_proj.forward, _FusedForward):
            block.forward = _FusedGatedForward(block)
    return fused


class _FusedForward:
    """The new forward pass of a LoRA layer; PEFT's own if the layer is merged or switched off."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self._original_forward = layer.forward

    def __call__(self, x: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        weights = None if arguments or options else self.weights(x.dtype)
        if weights is None:
            result: torch.Tensor = self._original_forward(x, *arguments, **options)
            return result
        y: torch.Tensor = _apply(x.reshape(-1, x.shape[-1]), *weights.arguments())
        return y.view(*x.shape[:-1], y.shape[-1])

    def weights(self, dtype: torch.dtype) -> _LayerWeights | None:
        """The layer's weights for an input of this type; None if PEFT's forward is to be used."""
        layer, base = self._layer, self._layer.base_layer
        if layer.merged or layer.disable_adapters or not _is_plain_lora(layer):
            return None
        name = layer.active_adapters[0]
        down, up = layer.lora_A[name].weight, layer.lora_B[name].weight
        if not dtype == down.dtype == base.weight.dtype:
            return None
        return _LayerWeights(base.weight, base.bias, down, up, layer.scaling[name])


class _FusedGatedForward:
    """The new forward pass of a gated block; the block's own unless its last layer is fused."""

    def __init__(self, block: Any) -> None:
        self._block = block
        self._original_forward = block.forward

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        block = self._block
        weights = _fused_weights(block.down_proj, x.dtype)
        if weights is None:
            result: torch.Tensor = self._original_forward(x)
            return result
        gate, values = (layer(x) for layer in (block.gate_proj, block.up_proj))
        flat = (states.reshape(-1, states.shape[-1]) for states in (gate, values))
        y: torch.Tensor = _apply_gated(*flat, block.act_fn, *weights.arguments())
        return y.view(*x.shape[:-1], y.shape[-1])


def _fused_weights(layer: Any, dtype: torch.dtype) -> _LayerWeights | None:
    """The weights of a fused layer; None if it is not fused, or has hooks that are to be called."""
    has_hooks = layer._forward_hooks or layer._forward_pre_hooks
    if has_hooks or not isinstance(layer.forward, _FusedForward):
        return None
    return layer.forward.weights(dtype)


def _is_plain_lora(layer: Any) -> bool:
    """Whether a LoRA layer is a frozen linear layer with one active adapter, no DoRA or dropout."""
    if len(layer.active_adapters) != 1 or type(layer.base_layer) is not torch.nn.Linear:
        return False
    name = layer.active_adapters[0]
    return (
        name in layer.lora_A
        and isinstance(layer.lora_dropout[name], torch.nn.Identity)
        and name not in getattr(layer, "lora_variant", {})
        and not layer.lora_bias.get(name, False)
        and not layer.base_layer.weight.requires_grad
    )
