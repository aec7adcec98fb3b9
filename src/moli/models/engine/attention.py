"""Attention for sequences of different lengths in one pass, over cached keys and values.

A pass is the new tokens of all sequences laid end to end, [1, T], without padding: first one token
of each sequence that is being decoded, then chunks of the prompts that are being read. Each layer
computes the attention of all decode tokens together, and that of the chunks one by one.

In float32 on a CPU a token's attention has the same bits whatever is beside it, and whether it is
decoded or in a chunk. Libraries choose kernels by the sizes of a product, and these sum in
different orders; so all products have sizes within which the order stays the same.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.functional import pad, scaled_dot_product_attention

from moli.models.engine.kv_cache import TorchKVCache
from moli.models.engine.prefill_chunk import PrefillChunk

NAME = "moli_cached"  # by which transformers knows this attention

# Sizes of the products of attention in float32 on a CPU.
_ROW_STEP = 12  # of which the number of rows is a multiple
_MAX_ROWS = 48
_KEY_BLOCK = 256  # values that a product sums
_LENGTH_STEP = 16  # of which the number of keys is a multiple, as far as the cache reaches


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
    _masks: dict[tuple[int, ...], torch.Tensor] = field(default_factory=dict)
    _decode_of_slot: torch.Tensor | None = None

    def decode_of_slot(self) -> torch.Tensor:
        """Index of each cache slot's decode token in the pass, [slots]; 0 if it has none."""
        if self._decode_of_slot is None:
            slots = self.slots[: self.num_decodes]
            self._decode_of_slot = slots.new_zeros(int(slots.max()) + 1)
            self._decode_of_slot[slots] = torch.arange(self.num_decodes, device=slots.device)
        return self._decode_of_slot

    def decode_mask(self, window: int, keys: torch.Tensor) -> torch.Tensor:
        """Mask for the decode tokens: -inf for hidden tokens, else 0, [slots, 1, 1, L].

        Args:
            window: how many of the last tokens are seen; 0 for all.
            keys: cached keys of a layer, [..., slot length, D].
        """
        if (window,) not in self._masks:
            slots = len(self.decode_of_slot())
            longest = _padded_length(int(self.decode_lengths.max()), keys)
            lengths = torch.ones(slots, dtype=torch.long, device=keys.device)
            lengths[self.slots[: self.num_decodes]] = self.decode_lengths
            last = lengths[:, None] - 1
            self._masks[(window,)] = _mask(last, longest, window, keys)[:, None, None]
        return self._masks[(window,)]

    def prefill_mask(self, begin: int, end: int, window: int, keys: torch.Tensor) -> torch.Tensor:
        """Mask for the tokens from `begin` to `end` of a sequence, [tokens, L].

        Rows are added up to a multiple of `_ROW_STEP`. The other arguments are those of
        `decode_mask`.
        """
        if (begin, end, window) not in self._masks:
            position = torch.arange(begin, end + (begin - end) % _ROW_STEP, device=keys.device)[
                :, None
            ]
            length = _padded_length(end, keys)
            self._masks[begin, end, window] = _mask(position, length, window, keys)
        return self._masks[begin, end, window]


def _padded_length(length: int, keys: torch.Tensor) -> int:
    """Number of cached keys to read for this many tokens."""
    return min(keys.shape[-2], -(-length // _LENGTH_STEP) * _LENGTH_STEP)


def _mask(last: torch.Tensor, length: int, window: int, like: torch.Tensor) -> torch.Tensor:
    """Mask [queries, length] of -inf and 0.

    Args:
        last: the last position that each query sees, [queries, 1].
    """
    position = torch.arange(length, device=like.device)
    visible = position <= last
    if window:
        visible &= position > last - window
    mask = torch.zeros(len(last), length, dtype=like.dtype, device=like.device)
    return mask.masked_fill_(~visible, float("-inf"))


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
        own = query[0, :, chunk.begin : chunk.end]
        cached = keys[chunk.cache_slot], values[chunk.cache_slot]
        mixed[chunk.begin : chunk.end] = (
            _attend_prefill_in_blocks(own * scale, *cached, chunk.start, metadata, window)
            if _is_invariant(query)
            else _attend_prefill(own, *cached, chunk.start, window, scale)
        )
    return mixed.unsqueeze(0), None


def _is_invariant(query: torch.Tensor) -> bool:
    """Whether a token's attention must have the same bits whatever is beside it."""
    return query.dtype == torch.float32 and query.device.type == "cpu"


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
    mask = metadata.decode_mask(window, keys)
    slots, longest = mask.shape[0], mask.shape[-1]
    of_slots = query.index_select(1, metadata.decode_of_slot()).transpose(0, 1)
    grouped = of_slots.reshape(slots, keys.shape[1], -1, query.shape[2])
    visible = keys[:slots, :, :longest], values[:slots, :, :longest]
    if _is_invariant(query):
        mixed = _invariant_attention(grouped * scale, *visible, mask)
    else:
        mixed = scaled_dot_product_attention(grouped, *visible, attn_mask=mask, scale=scale)
    return mixed.flatten(1, 2).index_select(0, metadata.slots[: metadata.num_decodes])


def _invariant_attention(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor
) -> torch.Tensor:
    """Attention as products and a softmax, with the same bits for a query whatever is beside it.

    With the few queries of decode tokens this is faster than torch's fused kernel as well.

    Args:
        query: queries times their scale, [N, K, R, D], with at most `_MAX_ROWS` rows R.
        keys, values: [N, K, L, D].
        mask: -inf for hidden keys, else 0; it broadcasts to [N, K, padded R, L].

    Returns:
        [N, K, R, D].
    """
    number, heads, rows, _ = query.shape
    if number * heads == 1:  # a batch of one has a kernel of its own
        query, keys, values = (each.expand(2, -1, -1, -1) for each in (query, keys, values))
        return _invariant_attention(query, keys, values, mask)[:1]
    padded = pad(query, (0, 0, 0, -rows % _ROW_STEP))
    scores = torch.bmm(padded.flatten(0, 1), keys.flatten(0, 1).transpose(1, 2))
    shares = torch.softmax(scores.view(number, heads, -1, keys.shape[2]).add_(mask), -1)
    shares, flat = shares.flatten(0, 1), values.flatten(0, 1)
    mixed = torch.bmm(shares[:, :, :_KEY_BLOCK], flat[:, :_KEY_BLOCK])
    for begin in range(_KEY_BLOCK, keys.shape[2], _KEY_BLOCK):
        block = slice(begin, begin + _KEY_BLOCK)
        mixed += torch.bmm(shares[:, :, block], flat[:, block])
    return mixed.view(number, heads, -1, values.shape[3])[:, :, :rows]


def _attend_prefill_in_blocks(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    start: int,
    metadata: AttentionMetadata,
    window: int,
) -> torch.Tensor:
    """The attention of `_attend_prefill`, with the same bits however a prompt is cut into chunks.

    Args:
        query: queries times their scale.
    """
    heads, count = query.shape[:2]
    end = _padded_length(start + count, keys)
    group = heads // len(keys)
    own_keys = keys[:, :end].repeat_interleave(group, 0)[None]
    own_values = values[:, :end].repeat_interleave(group, 0)[None]
    mixed = []
    for begin in range(0, count, _MAX_ROWS):
        rows = query[None, :, begin : begin + _MAX_ROWS]
        first = start + begin
        mask = metadata.prefill_mask(first, first + rows.shape[2], window, keys)
        visible = slice(mask.shape[1])
        attended = _invariant_attention(
            rows, own_keys[:, :, visible], own_values[:, :, visible], mask
        )
        mixed.append(attended[0].transpose(0, 1))
    return torch.cat(mixed)


def _attend_prefill(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    start: int,
    window: int,
    scale: float,
) -> torch.Tensor:
    """Attention of a chunk of a prompt to itself and the tokens before it, [tokens, H, D].

    Args:
        query: [H, tokens, D].
        keys, values: cached keys and values of the sequence, [K, slot length, D].
        start: position of the first of the tokens.
    """
    count = query.shape[1]
    length = start + count
    visible = None
    if start or (window and window < length):
        position = torch.arange(start, length, device=query.device)[:, None]
        other = torch.arange(length, device=query.device)[None]
        visible = other <= position
        if window:
            visible &= other > position - window
    mixed = scaled_dot_product_attention(
        query[None],
        keys[None, :, :length],
        values[None, :, :length],
        attn_mask=visible,
        is_causal=visible is None and count > 1,
        scale=scale,
        enable_gqa=query.shape[0] != keys.shape[0],
    )
    return mixed[0].transpose(0, 1)
