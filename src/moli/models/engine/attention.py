"""Attention for sequences of different lengths in one pass, over cached keys and values.

A pass is the new tokens of all sequences laid end to end, [1, T], without padding: first one token
of each sequence that is being decoded, then chunks of the prompts that are being read. Each layer
computes the attention of all decode tokens together, and that of the chunks one by one.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from moli.models.engine.kv_cache import TorchKVCache
from moli.models.engine.prefill_chunk import PrefillChunk

NAME = "moli_cached"  # by which transformers knows this attention


@dataclass(slots=True)
class AttentionMetadata:
    """Slots and positions in the KV cache of the tokens of a pass.

    Attributes:
        slots, positions: the cache slot of each token, and its position in its sequence, [T].
        num_decodes: sequences that have a single token in the pass; these tokens come first.
        decode_lengths: tokens of each of these sequences, the new one included, [num_decodes].
        prefills: chunks of several tokens.
    """

    cache: TorchKVCache
    slots: torch.Tensor
    positions: torch.Tensor
    num_decodes: int
    decode_lengths: torch.Tensor
    prefills: tuple[PrefillChunk, ...]
    _masks: dict[int, torch.Tensor] = field(default_factory=dict)
    _decode_of_slot: torch.Tensor | None = None

    def decode_of_slot(self) -> torch.Tensor:
        """Index of each cache slot's decode token in the pass, [slots]; 0 if it has none."""
        if self._decode_of_slot is None:
            slots = self.slots[: self.num_decodes]
            self._decode_of_slot = slots.new_zeros(int(slots.max()) + 1)
            self._decode_of_slot[slots] = torch.arange(self.num_decodes, device=slots.device)
        return self._decode_of_slot

    def decode_mask(self, window: int, like: torch.Tensor) -> torch.Tensor:
        """Mask for the decode tokens: -inf for hidden tokens, else 0, [slots, 1, 1, L].

        Args:
            window: how many of the last tokens are seen; 0 for all.
            like: a tensor of the type and on the device that the mask must have.
        """
        if window not in self._masks:
            slots, longest = len(self.decode_of_slot()), int(self.decode_lengths.max())
            lengths = torch.ones(slots, dtype=torch.long, device=like.device)
            lengths[self.slots[: self.num_decodes]] = self.decode_lengths
            position = torch.arange(longest, device=like.device)
            visible = position < lengths[:, None]
            if window:
                visible &= position >= lengths[:, None] - window
            mask = torch.zeros(slots, longest, dtype=like.dtype, device=like.device)
            self._masks[window] = mask.masked_fill_(~visible, float("-inf"))[:, None, None]
        return self._masks[window]


current_metadata: ContextVar[AttentionMetadata] = ContextVar("current_metadata")


def register() -> None:
    """Register `cached_attention` with transformers, as `attn_implementation=NAME`."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, cached_attention)
    AttentionMaskInterface.register(NAME, lambda *_, **__: None)


def cached_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,  # noqa: ARG001 - the metadata says what is visible
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Store the new keys and values, and attend to all cached tokens of each sequence.

    Args:
        query: [1, H, T, D].
        key, value: [1, K, T, D], where K divides H.

    Returns:
        [1, T, H, D], and None for the probabilities.

    Raises:
        NotImplementedError: the model changes its attention scores in a way that this function does
            not implement.
    """
    for unknown in ("softcap", "s_aux", "position_bias"):
        if options.get(unknown) is not None:
            raise NotImplementedError(f"attention with {unknown}")
    metadata = current_metadata.get()
    keys, values = metadata.cache.layer(module.layer_idx, key, value)
    keys[metadata.slots, :, metadata.positions] = key[0].transpose(0, 1)
    values[metadata.slots, :, metadata.positions] = value[0].transpose(0, 1)
    scale = options.get("scaling") or query.shape[-1] ** -0.5
    window = options.get("sliding_window") or 0
    mixed = query.new_empty(query.shape[2], query.shape[1], value.shape[-1])
    if count := metadata.num_decodes:
        mixed[:count] = _attend_decodes(query[0], keys, values, metadata, window, scale)
    for chunk in metadata.prefills:
        mixed[chunk.begin : chunk.end] = _attend_prefill(
            query[0], keys, values, chunk, window, scale
        )
    return mixed.unsqueeze(0), None


def _attend_decodes(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    metadata: AttentionMetadata,
    window: int,
    scale: float,
) -> torch.Tensor:
    """Attention of one token of each sequence, [num_decodes, H, D].

    All are one batch over the cache slots; queries that share keys are rows of one product.
    """
    mask = metadata.decode_mask(window, query)
    slots, longest = mask.shape[0], mask.shape[-1]
    of_slots = query.index_select(1, metadata.decode_of_slot()).transpose(0, 1)
    grouped = of_slots.reshape(slots, keys.shape[1], -1, query.shape[2])
    visible = keys[:slots, :, :longest], values[:slots, :, :longest]
    if query.dtype == torch.float32 and query.device.type == "cpu":
        mixed = _unfused_attention(grouped, *visible, mask, scale)
    else:
        mixed = scaled_dot_product_attention(grouped, *visible, attn_mask=mask, scale=scale)
    return mixed.flatten(1, 2).index_select(0, metadata.slots[: metadata.num_decodes])


def _unfused_attention(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, scale: float
) -> torch.Tensor:
    """Attention as two products and a softmax, [slots, K, H/K, D].

    With so few queries this is faster than torch's fused kernel.
    """
    slots, heads = query.shape[:2]
    scores = torch.bmm((query * scale).flatten(0, 1), keys.flatten(0, 1).transpose(1, 2))
    probabilities = torch.softmax(scores.view(slots, heads, -1, keys.shape[2]).add_(mask), -1)
    mixed = torch.bmm(probabilities.flatten(0, 1), values.flatten(0, 1))
    return mixed.view(slots, heads, -1, values.shape[3])


def _attend_prefill(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    chunk: PrefillChunk,
    window: int,
    scale: float,
) -> torch.Tensor:
    """Attention of a chunk of a prompt to itself and the tokens before it, [tokens, H, D]."""
    count = chunk.end - chunk.begin
    length = chunk.start + count
    visible = None
    if chunk.start or (window and window < length):
        position = torch.arange(chunk.start, length, device=query.device)[:, None]
        other = torch.arange(length, device=query.device)[None]
        visible = other <= position
        if window:
            visible &= other > position - window
    mixed = scaled_dot_product_attention(
        query[None, :, chunk.begin : chunk.end],
        keys[None, chunk.cache_slot, :, :length],
        values[None, chunk.cache_slot, :, :length],
        attn_mask=visible,
        is_causal=visible is None and count > 1,
        scale=scale,
        enable_gqa=query.shape[0] != keys.shape[1],
    )
    return mixed[0].transpose(0, 1)
