"""Attention by segments on a GPU, by the fused kernels that torch has."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import cache, partial
from itertools import pairwise
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from moli.training.kernels.attention_pattern import AttentionPattern, Segments, visible_keys


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
    segments: Segments | None,
    scale: float,
    pattern: AttentionPattern,
) -> torch.Tensor:
    """Attention within each segment: [N, H, T, D].

    One kernel call computes all segments if torch's kernel supports these queries; otherwise
    there is a call for each segment.

    Args:
        query: [N, H, T, D].
        key, value: [N, K, S, D], where K divides H.
        segments: the borders of the segments; None where each row is one segment.
    """
    if segments is None:
        return _attend_rows(query, key, value, scale, pattern)
    supported = _is_supported_by_flash(query, value) and not pattern.dropout
    kernel = _varlen_kernel() if supported else None
    if kernel is None:
        borders = (segments.cu_seqlens.tolist(), segments.key_cu_seqlens.tolist())
        parts = [
            _attend_rows(query[:, :, a:b], key[:, :, c:d], value[:, :, c:d], scale, pattern)
            for (a, b), (c, d) in zip(*map(pairwise, borders), strict=True)
        ]
        return torch.cat(parts, 2)
    by_token = (states[0].transpose(0, 1) for states in (query, key, value))
    # Keys seen before and after a query; -1 for all.
    window = (pattern.window - 1 if pattern.window else -1, 0 if pattern.causal else -1)
    # A causal query sees the keys up to its position, counted from the ends of both.
    mixed: torch.Tensor = kernel(
        *by_token,
        segments.cu_seqlens,
        segments.key_cu_seqlens,
        segments.max_seqlen,
        segments.max_key_seqlen,
        scale=scale,
        window_size=window,
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
    length, keys = query.shape[2], key.shape[2]
    mask = None
    if (pattern.window and pattern.window < keys) or (pattern.causal and length < keys):
        mask = visible_keys(length, keys - length, keys, pattern.window, query.device)
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
