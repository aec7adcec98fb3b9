"""Attention by segments on a GPU, by the fused kernels that torch has."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache, partial
from itertools import pairwise
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from moli.training.kernels.attention_pattern import AttentionPattern, visible_keys


@cache
def _varlen_kernel() -> Callable[..., Any] | None:
    """torch's kernel for sequences end to end, [T, H, D]; None before torch 2.11."""
    try:
        from torch.nn.attention.varlen import varlen_attn
    except ImportError:
        return None
    parameters = inspect.signature(varlen_attn).parameters
    if "window_size" not in parameters:
        return None
    # Before torch 2.12 grouped queries are always on.
    return partial(varlen_attn, enable_gqa=True) if "enable_gqa" in parameters else varlen_attn


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    cu_seqlens: torch.Tensor | None,
    max_seqlen: int,
    scale: float,
    pattern: AttentionPattern,
) -> torch.Tensor:
    """Attention within each segment: [N, H, T, D].

    One kernel call computes all segments if torch's kernel supports these queries; otherwise
    there is a call for each segment.

    Args:
        query: [N, H, T, D].
        key, value: [N, K, T, D], where K divides H.
        cu_seqlens: indices where segments begin and end, int32 [segments + 1]; None where each row
            is one segment.
        max_seqlen: tokens of the longest segment.
    """
    if cu_seqlens is None:
        return _attend_rows(query, key, value, scale, pattern)
    supported = _is_supported_by_flash(query, value) and not pattern.dropout
    kernel = _varlen_kernel() if supported else None
    if kernel is None:
        segments = [slice(*borders) for borders in pairwise(cu_seqlens.tolist())]
        parts = [
            _attend_rows(query[:, :, part], key[:, :, part], value[:, :, part], scale, pattern)
            for part in segments
        ]
        return torch.cat(parts, 2)
    by_token = (states[0].transpose(0, 1) for states in (query, key, value))
    # Keys seen before and after a query; -1 for all.
    window = (pattern.window - 1 if pattern.window else -1, 0 if pattern.causal else -1)
    mixed: torch.Tensor = kernel(
        *by_token, cu_seqlens, cu_seqlens, max_seqlen, max_seqlen, scale=scale, window_size=window
    )
    return mixed.transpose(0, 1)[None]


def _is_supported_by_flash(query: torch.Tensor, value: torch.Tensor) -> bool:
    """Whether flash attention (Dao 2023) takes states of this type and width on this GPU.

    On some GPUs, flash attention has no gradients for wider states.
    """
    width = query.shape[-1]
    is_half = query.dtype in (torch.bfloat16, torch.float16)
    has_shape = width == value.shape[-1] and width <= 192 and width % 8 == 0
    return is_half and has_shape and torch.cuda.get_device_capability() >= (8, 0)


def _attend_rows(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    scale: float,
    pattern: AttentionPattern,
) -> torch.Tensor:
    """Attention by torch's fused kernel, where each row is one segment: [N, H, T, D]."""
    length = query.shape[2]
    mask = None
    if pattern.window and pattern.window < length:
        mask = visible_keys(length, 0, length, pattern.window, query.device)
    return scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=mask,
        dropout_p=pattern.dropout,
        is_causal=pattern.causal and mask is None,
        scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )
