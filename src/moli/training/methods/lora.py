"""LoRA's product added where the frozen layer's result already is (Hu et al. 2022, section 4.1).

PEFT computes the thin products apart, then scales and adds the wide result in passes over memory,
which costs a CPU more than the products. Here both directions accumulate in place.
"""

from __future__ import annotations

from typing import Any

import torch


class _Linear(torch.autograd.Function):
    """y = x W' + b + scale (x A') B': x [T, in], W [out, in] frozen, A [r, in], B [out, r]."""

    @staticmethod
    def forward(
        ctx: Any,
        x: torch.Tensor,
        weight: torch.Tensor,
        bias: torch.Tensor | None,
        down: torch.Tensor,
        up: torch.Tensor,
        scale: float,
    ) -> torch.Tensor:
        thin = (x @ down.t()).mul_(scale)
        y = x @ weight.t() if bias is None else torch.addmm(bias, x, weight.t())
        ctx.save_for_backward(x, weight, down, up, thin)
        ctx.scale = scale
        return y.addmm_(thin, up.t())

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        x, weight, down, up, thin = ctx.saved_tensors
        # A product of a long matrix with fewer than 16 columns can cost MKL more than that with the
        # whole weight, so the few are rows wherever they are read.
        thin_gradient = (gradient @ up.t().contiguous().t()).mul_(ctx.scale)
        dx = (gradient @ weight).addmm_(thin_gradient, down) if ctx.needs_input_grad[0] else None
        return dx, None, None, thin_gradient.t() @ x, (thin.t() @ gradient).t(), None


_apply: Any = _Linear.apply


def fuse(model: torch.nn.Module) -> int:
    """Have PEFT's LoRA layers compute this way where the result is the same; returns how many do.

    Layers with DoRA or dropout, and those that are not plain linear layers, are left unchanged.
    """
    from peft.tuners.lora import Linear

    fused = 0
    for module in model.modules():
        if isinstance(module, Linear) and _is_plain(module):
            module.forward = _Forward(module)  # type: ignore[method-assign]
            fused += 1
    return fused


class _Forward:
    """The forward pass of one layer; PEFT's own as soon as the layer is merged or switched off."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self._own = layer.forward
        self._name = layer.active_adapters[0]

    def __call__(self, x: torch.Tensor, *arguments: Any, **options: Any) -> torch.Tensor:
        layer, base = self._layer, self._layer.base_layer
        down, up = layer.lora_A[self._name].weight, layer.lora_B[self._name].weight
        usual = layer.merged or layer.disable_adapters or arguments or options
        if (
            usual
            or layer.active_adapters != [self._name]
            or not x.dtype == down.dtype == base.weight.dtype
        ):
            result: torch.Tensor = self._own(x, *arguments, **options)
            return result
        flat = x.reshape(-1, x.shape[-1])
        scale = layer.scaling[self._name]
        y: torch.Tensor = _apply(flat, base.weight, base.bias, down, up, scale)
        return y.view(*x.shape[:-1], -1)


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
