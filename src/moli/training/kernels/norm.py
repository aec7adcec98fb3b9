"""Root mean square normalisation (Zhang and Sennrich 2019) that keeps only what it was given.

torch's autograd would keep the normalised values too, and in bfloat16 all of it in float32.
"""

from __future__ import annotations

from typing import Any

import torch

from moli.training.kernels.same_code import runs_same_code


class _RMSNorm(torch.autograd.Function):
    """y = weight * x / sqrt(mean(x^2) + epsilon), x [..., D], in float32 up to the weight."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
        wide = x.float()
        length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        scale = length.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        y: torch.Tensor = (wide * scale).to(x.dtype).mul_(weight)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        x, weight, scale = ctx.saved_tensors
        normal = x.float() * scale
        to_weight = None
        if ctx.needs_input_grad[1]:
            to_weight = (gradient * normal).reshape(-1, x.shape[-1]).sum(0).to(weight.dtype)
        # y does not change with the length of x, so nothing of the gradient lies along it.
        slope = (gradient * weight).float()
        along = torch.linalg.vecdot(slope, normal).unsqueeze(-1).div_(x.shape[-1])
        to_x = slope.addcmul_(normal, along, value=-1).mul_(scale)
        return to_x.to(x.dtype), to_weight, None


_apply: Any = _RMSNorm.apply


class _Forward:
    """The forward pass of one module; its own where it is given more, or another type."""

    def __init__(self, norm: Any) -> None:
        self._norm = norm
        self._own = norm.forward

    def __call__(self, *inputs: Any, **options: Any) -> torch.Tensor:
        norm = self._norm
        if len(inputs) != 1 or options or inputs[0].dtype != norm.weight.dtype:
            result: torch.Tensor = self._own(*inputs, **options)
            return result
        y: torch.Tensor = _apply(inputs[0], norm.weight, norm.variance_epsilon)
        return y


def replace_norms(model: torch.nn.Module) -> int:
    """Have a model's RMS norms compute this way; returns how many do.

    Those that do something else (Gemma's add one to the weight) are left unchanged.
    """
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    norms = [each for each in model.modules() if runs_same_code(each, LlamaRMSNorm)]
    for each in norms:
        each.forward = _Forward(each)
    return len(norms)
