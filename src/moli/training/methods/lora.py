"""LoRA's product added where the frozen layer's result already is (Hu et al. 2022, section 4.1).

PEFT computes the thin products apart, then scales and adds the wide result in passes over memory,
which costs a CPU more than the products. Here both directions accumulate in place.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from moli.training.kernels.same_code import runs_same_code


class _Linear(torch.autograd.Function):
    """y = x W' + b + scale (x A') B': x [T, in], W [out, in] frozen, A [r, in], B [out, r]."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, *layer: Any) -> torch.Tensor:
        y, thin = _forwards(x, *layer)
        weight, _, down, up, ctx.scale = layer
        ctx.save_for_backward(x, thin, weight, down, up)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        x, *layer = ctx.saved_tensors
        return _backwards(ctx.needs_input_grad[0], gradient, x, *layer, ctx.scale)


class _GatedLinear(torch.autograd.Function):
    """The same for x = activation(gate) * values (Shazeer 2020), both [T, in].

    Neither x nor the activated gate is kept: computing them again is cheap, and they would be a
    quarter of all that a model of this kind keeps for its backward pass.
    """

    @staticmethod
    def forward(
        ctx: Any,
        gate: torch.Tensor,
        values: torch.Tensor,
        activation: Callable[[torch.Tensor], torch.Tensor],
        *layer: Any,
    ) -> torch.Tensor:
        y, thin = _forwards(activation(gate) * values, *layer)
        weight, _, down, up, ctx.scale = layer
        ctx.activation = activation
        ctx.save_for_backward(gate, values, thin, weight, down, up)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        gate, values, *layer = ctx.saved_tensors
        with torch.enable_grad():
            gate = gate.detach().requires_grad_()
            activated = ctx.activation(gate)
        x = activated.detach() * values
        wanted = any(ctx.needs_input_grad[:2])
        to_x, *to_layer = _backwards(wanted, gradient, x, *layer, ctx.scale)
        del x
        to_gate = to_values = None
        if to_x is not None:
            to_values = activated.detach() * to_x
            (to_gate,) = torch.autograd.grad(activated, gate, to_x.mul_(values))
        return to_gate, to_values, None, *to_layer


def _forwards(
    x: torch.Tensor,
    weight: torch.Tensor,
    bias: torch.Tensor | None,
    down: torch.Tensor,
    up: torch.Tensor,
    scale: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    """y, and the thin product [T, r] that the backward pass needs."""
    thin = (x @ down.t()).mul_(scale)
    y = x @ weight.t() if bias is None else torch.addmm(bias, x, weight.t())
    return y.addmm_(thin, up.t()), thin


def _backwards(
    wanted: bool, gradient: torch.Tensor, x: torch.Tensor, *layer: Any
) -> tuple[torch.Tensor | None, ...]:
    """The gradients by x, if it is wanted, and by what `_forwards` takes besides, in its order."""
    thin, weight, down, up, scale = layer
    # A product of a long matrix with fewer than 16 columns can cost MKL more than that with the
    # whole weight, so the few are rows wherever they are read.
    thin_gradient = (gradient @ up.t().contiguous().t()).mul_(scale)
    to_x = (gradient @ weight).addmm_(thin_gradient, down) if wanted else None
    return to_x, None, None, thin_gradient.t() @ x, (thin.t() @ gradient).t(), None


_apply: Any = _Linear.apply
_apply_gated: Any = _GatedLinear.apply


def fuse_lora_layers(model: torch.nn.Module) -> int:
    """Have PEFT's LoRA layers compute this way where the result is the same; returns how many do.

    Layers with DoRA or dropout, and those that are not plain linear layers, are left unchanged.
    """
    from peft.tuners.lora import Linear
    from transformers.models.llama.modeling_llama import LlamaMLP

    fused = 0
    for module in model.modules():
        if isinstance(module, Linear) and _is_plain(module):
            module.forward = _Forward(module)  # type: ignore[method-assign]
            fused += 1
    blocks: list[Any] = [each for each in model.modules() if runs_same_code(each, LlamaMLP)]
    for block in blocks:
        if isinstance(block.down_proj.forward, _Forward):
            block.forward = _GatedForward(block)
    return fused


class _Forward:
    """The forward pass of one layer; PEFT's own as soon as the layer is merged or switched off."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self._own = layer.forward
        self._name = layer.active_adapters[0]

    def __call__(self, x: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        parts = None if arguments or options else self.parts(x.dtype)
        if parts is None:
            result: torch.Tensor = self._own(x, *arguments, **options)
            return result
        y: torch.Tensor = _apply(x.reshape(-1, x.shape[-1]), *parts)
        return y.view(*x.shape[:-1], y.shape[-1])

    def parts(self, dtype: torch.dtype) -> tuple[Any, ...] | None:
        """Weight, bias, A, B and scale, for an input of this type; None where PEFT's is used."""
        layer, base, name = self._layer, self._layer.base_layer, self._name
        down, up = layer.lora_A[name].weight, layer.lora_B[name].weight
        if (
            layer.merged
            or layer.disable_adapters
            or layer.active_adapters != [name]
            or not dtype == down.dtype == base.weight.dtype
        ):
            return None
        return base.weight, base.bias, down, up, layer.scaling[name]


class _GatedForward:
    """The forward pass of a gated block; its own unless its last layer is one of the above."""

    def __init__(self, block: Any) -> None:
        self._block = block
        self._own = block.forward

    def __call__(self, x: torch.Tensor) -> torch.Tensor:
        block = self._block
        parts = _parts(block.down_proj, x.dtype)
        if parts is None:
            result: torch.Tensor = self._own(x)
            return result
        gate, values = (each(x) for each in (block.gate_proj, block.up_proj))
        flat = (each.reshape(-1, each.shape[-1]) for each in (gate, values))
        y: torch.Tensor = _apply_gated(*flat, block.act_fn, *parts)
        return y.view(*x.shape[:-1], y.shape[-1])


def _parts(layer: Any, dtype: torch.dtype) -> tuple[Any, ...] | None:
    """What a fused layer multiplies with; None where it is another, or has hooks to be called."""
    hooked = layer._forward_hooks or layer._forward_pre_hooks
    if hooked or not isinstance(layer.forward, _Forward):
        return None
    return layer.forward.parts(dtype)


def _is_plain(layer: Any) -> bool:
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
