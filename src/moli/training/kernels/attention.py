"""Attention by segments: several sequences in one row, none of which sees another.

A batch is its sequences laid end to end, [1, T], without padding. transformers passes each layer's
queries, keys and values to the function registered here, with the borders of the segments as
`cu_seq_lens_q`, the name that its own variable-length kernels use.

Several segments may continue the same text, as two answers continue one prompt: `key_indices` has
the indices of the tokens whose keys each segment sees, those of the prompt and its own, and
`cu_seq_lens_k` the borders between them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from moli.training.kernels import attention_cpu, attention_gpu
from moli.training.kernels.attention_pattern import AttentionPattern, Segments

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
    segments = _segments(options)
    if window and not causal:
        if window < (segments.max_seqlen if segments else query.shape[2]):
            raise NotImplementedError("a bidirectional window is not computed per segment")
        window = 0
    if (indices := options.get("key_indices")) is not None:
        key, value = key.index_select(2, indices), value.index_select(2, indices)
    pattern = AttentionPattern(causal, window, float(options.get("dropout") or 0.0))
    attend = attention_cpu.attend if query.device.type == "cpu" else attention_gpu.attend
    return attend(query, key, value, segments, scale, pattern).transpose(1, 2), None


def _segments(options: Mapping[str, Any]) -> Segments | None:
    """The borders of the segments; None if each row is one.

    The length of the longest one is an option of its own, since to compute it from the borders
    would mean to wait for the GPU in each layer.
    """
    borders, longest = options.get("cu_seq_lens_q"), options.get("max_length_q")
    if borders is None:
        return None
    longest = int(longest or borders.diff().max())
    if options.get("key_indices") is None:
        return Segments(borders, longest, borders, longest)
    return Segments(borders, longest, options["cu_seq_lens_k"], int(options["max_length_k"]))


def _refuse(options: Mapping[str, Any], *names: str) -> None:
    """Raise an error if any of these options is set."""
    for name in names:
        if options.get(name) is not None:
            raise NotImplementedError(f"attention with {name} is not computed per segment")
