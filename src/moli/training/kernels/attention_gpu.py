"""Attention by segments on a GPU, by the fused kernels that torch has."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache, partial
from itertools import pairwise
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from moli.training.kernels.attention_cpu import Pattern, visible


@cache
def _end_to_end() -> Callable[..., Any] | None:
    """torch's kernel for sequences end to end, [T, H, D]; None before torch 2.11."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    known = inspect.signature(varlen_attn).parameters
    if "window_size" not in known:
        return None
    # Before torch 2.12 grouped queries need not be asked for.
    return partial(varlen_attn, enable_gqa=True) if "enable_gqa" in known else varlen_attn


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    borders: torch.Tensor | None,
    longest: int,
    scale: float,
    pattern: Pattern,
) -> torch.Tensor:
    """[N, H, T, D] from query [N, H, T, D], key and value [N, K, T, D], where K divides H.

    One kernel computes all segments where it takes such queries, else it is one for each.

    Args:
        borders: where segments begin and end, int32 [segments + 1]; None where each row is one.
        longest: tokens of the longest segment.
    """
    causal, window, dropout = pattern
    if borders is None:
        return _whole_rows(query, key, value, scale, pattern)
    kernel = _end_to_end() if _suits(query, value) and not dropout else None
    if kernel is None:
        segments = [slice(*each) for each in pairwise(borders.tolist())]
        parts = [
            _whole_rows(query[:, :, each], key[:, :, each], value[:, :, each], scale, pattern)
            for each in segments
        ]
        return torch.cat(parts, 2)
    by_token = (each[0].transpose(0, 1) for each in (query, key, value))
    seen = (window - 1 if window else -1, 0 if causal else -1)  # before and after; -1 for all
    mixed: torch.Tensor = kernel(
        *by_token, borders, borders, longest, longest, scale=scale, window_size=seen
    )
    return mixed.transpose(0, 1)[None]


def _suits(query: torch.Tensor, value: torch.Tensor) -> bool:
    """Whether flash attention (Dao 2023) takes them on this GPU; some have no wider gradients."""
    width = query.shape[-1]
    half = query.dtype in (torch.bfloat16, torch.float16)
    shaped = width == value.shape[-1] and width <= 192 and width % 8 == 0
    return half and shaped and torch.cuda.get_device_capability() >= (8, 0)


def _whole_rows(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scale: float,
    pattern: Pattern,
) -> torch.Tensor:
    """torch's fused kernel for rows of one segment each."""
    causal, window, dropout = pattern
    length = query.shape[2]
    seen = None
    if window and window < length:
        seen = visible(length, 0, length, window, query.device)
    return scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=seen,
        dropout_p=dropout,
        is_causal=causal and seen is None,
        scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )
