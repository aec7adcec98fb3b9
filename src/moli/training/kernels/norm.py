"""Root mean square normalization (Zhang and Sennrich 2019) that keeps only its input.

torch's autograd would keep the normalized values too, and in bfloat16 all of it in float32.
"""

from __future__ import annotations

from typing import Any

import torch

from moli.training.kernels.same_code import runs_same_code


class _RMSNorm(torch.autograd.Function):
    """y = weight * x / sqrt(mean(x^2) + epsilon), x [..., D], in float32 up to the weight."""

    @staticmethod
    def forward(ctx: Any, x: torch.Tensor, weight: torch.Tensor, epsilon: float) -> torch.Tensor:
        """The normalized and weighted x."""
        wide = x.float()
        length = torch.linalg.vector_norm(wide, dim=-1, keepdim=True)
        scale = length.square_().div_(x.shape[-1]).add_(epsilon).rsqrt_()
        ctx.save_for_backward(x, weight, scale)
        y: torch.Tensor = (wide * scale).to(x.dtype).mul_(weight)
        return y

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        """Gradients of x and weight, from the gradient of the result."""
        x, weight, scale = ctx.saved_tensors
        normalized = x.float() * scale
        by_weight = None
        if ctx.needs_input_grad[1]:
            by_weight = (gradient * normalized).reshape(-1, x.shape[-1]).sum(0).to(weight.dtype)
        # y does not change with the length of x, so the gradient has no component along it.
        by_normalized = (gradient * weight).float()
        along = torch.linalg.vecdot(by_normalized, normalized).unsqueeze(-1).div_(x.shape[-1])
        by_x = by_normalized.addcmul_(normalized, along, value=-1).mul_(scale)
        return by_x.to(x.dtype), by_weight, None


_apply: Any = _RMSNorm.apply


class _NormForward:
    """The new forward pass of a norm.

    With further arguments, or with an input in another type than the weight, it calls the original
    forward pass.
    """

    def __init__(self, norm: Any) -> None:
        self._norm = norm
        self._original_forward = norm.forward

    def __call__(self, *inputs: Any, **options: Any) -> torch.Tensor:
        norm = self._norm
        if len(inputs) != 1 or options or inputs[0].dtype != norm.weight.dtype:
            result: torch.Tensor = self._original_forward(*inputs, **options)
            return result
        y: torch.Tensor = _apply(inputs[0], norm.weight, norm.variance_epsilon)
        return y


def replace_norms(model: torch.nn.Module) -> int:
    """Have a model's RMS norms computed by this module.

    Norms with another formula (Gemma's adds one to the weight) are left unchanged.

    Returns:
        The number of norms that were changed.
    """
    from transformers.models.llama.modeling_llama import LlamaRMSNorm

    norms: list[Any] = [each for each in model.modules() if runs_same_code(each, LlamaRMSNorm)]
    for norm in norms:
        norm.forward = _NormForward(norm)
    return len(norms)
