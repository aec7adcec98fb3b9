"""Attention by segments on a GPU against the CPU's in float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from training.attention_cases import CU_SEQLENS, LENGTHS, PATTERNS, Layer

from moli.training.kernels import attention_gpu
from moli.training.kernels.attention import segment_attention


def attended(
    inputs: list[torch.Tensor], upstream: torch.Tensor, layer: Layer, **options: Any
) -> list[torch.Tensor]:
    """The output and the gradients of queries, keys and values, in float64 on the CPU."""
    leaves = [each.detach().requires_grad_() for each in inputs]
    mixed, _ = segment_attention(layer, *leaves, None, **options)
    mixed.backward(upstream.to(mixed))
    return [each.detach().double().cpu() for each in (mixed, *(leaf.grad for leaf in leaves))]


def compare(
    dtype: torch.dtype, within: float, heads: int, keys: int, causal: bool, window: int
) -> None:
    torch.manual_seed(0)
    shapes = [(1, count, sum(LENGTHS), 32) for count in (heads, keys, keys)]
    inputs = [torch.randn(shape, dtype=torch.float64).to(dtype) for shape in shapes]
    upstream = torch.randn(1, sum(LENGTHS), heads, 32, dtype=torch.float64).to(dtype)
    options: dict[str, Any] = {"sliding_window": window} if window else {}
    layer = Layer(causal=causal)
    exact = attended(
        [each.double() for each in inputs],
        upstream.double(),
        layer,
        cu_seq_lens_q=CU_SEQLENS,
        **options,
    )
    actual = attended(
        [each.cuda() for each in inputs],
        upstream.cuda(),
        layer,
        cu_seq_lens_q=CU_SEQLENS.cuda(),
        max_length_q=max(LENGTHS),
        **options,
    )
    for one, other in zip(actual, exact, strict=True):
        assert (one - other).norm() <= within * other.norm()


@PATTERNS
def test_half_precision_is_computed_by_one_kernel(
    heads: int, keys: int, causal: bool, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if attention_gpu._varlen_kernel() and torch.cuda.get_device_capability() >= (8, 0):
        monkeypatch.delattr(attention_gpu, "_attend_rows")
    compare(torch.bfloat16, 1e-2, heads, keys, causal, window)


@PATTERNS
def test_full_precision_is_computed_segment_by_segment(
    heads: int, keys: int, causal: bool, window: int
) -> None:
    compare(torch.float32, 1e-5, heads, keys, causal, window)
