"""Attention by segments: several sequences in one row, none of which sees another.

A batch is its sequences laid end to end, [1, T], without padding. transformers passes each layer's
queries, keys and values to the function registered here, with the borders of the segments as
`cu_seq_lens_q`, the name that its own variable-length kernels use.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from moli.training.kernels import attention_cpu, attention_gpu
from moli.training.kernels.attention_pattern import AttentionPattern

NAME = "moli_segments"


def register() -> None:
    """Register `segment_attention` with transformers, as `attn_implementation="moli_segments"`."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    def mask(**options: Any) -> Any:
        """No mask for segments; SDPA's for padded rows and for cached keys."""
        is_unpadded = options["attention_mask"] is None
        is_uncached = options["q_length"] == options["kv_length"]
        return None if is_unpadded and is_uncached else sdpa_mask(**options)

    AttentionInterface.register(NAME, segment_attention)
    AttentionMaskInterface.register(NAME, mask)


def segment_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Attention within each segment, with the signature that transformers requires.

    Args:
        query: [N, H, T, D].
        key, value: [N, K, T, D], where K divides H (grouped queries, Ainslie et al. 2023).
        attention_mask: mask of a padded batch, which goes to SDPA; None for sequences end to end.

    Returns:
        [N, T, H, D], and None for the attention weights.

    Raises:
        NotImplementedError: the model changes its attention scores in a way that this function does
            not implement.
    """
    _refuse(options, "softcap", "s_aux")
    if attention_mask is not None or query.shape[2] != key.shape[2]:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    _refuse(options, "position_bias")
    causal = options.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    scale = options.get("scaling") or query.shape[-1] ** -0.5
    window = options.get("sliding_window") or 0
    cu_seqlens, max_seqlen = _segments(query, options)
    if window and not causal:
        if window < max_seqlen:
            raise NotImplementedError("a bidirectional window is not computed per segment")
        window = 0
    pattern = AttentionPattern(causal, window, float(options.get("dropout") or 0.0))
    if query.device.type == "cpu":
        mixed = attention_cpu.attend(query, key, value, cu_seqlens, scale, pattern)
    else:
        mixed = attention_gpu.attend(query, key, value, cu_seqlens, max_seqlen, scale, pattern)
    return mixed.transpose(1, 2), None


def _segments(query: torch.Tensor, options: Mapping[str, Any]) -> tuple[torch.Tensor | None, int]:
    """The borders of the segments and the length of the longest one.

    The length is an option of its own, since to compute it from the borders would mean to wait for
    the GPU in each layer.

    Returns:
        Indices where segments begin and end, None if each row is one segment; and the length.
    """
    cu_seqlens, max_seqlen = options.get("cu_seq_lens_q"), options.get("max_length_q")
    if cu_seqlens is None:
        return None, query.shape[2]
    return cu_seqlens, int(max_seqlen or cu_seqlens.diff().max())


def _refuse(options: Mapping[str, Any], *names: str) -> None:
    """Raise an error if any of these options is set."""
    for name in names:
        if options.get(name) is not None:
            raise NotImplementedError(f"attention with {name} is not computed per segment")
