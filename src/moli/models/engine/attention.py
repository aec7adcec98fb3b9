"""Attention for rows of different lengths in one pass, over cached keys and values.

A pass is the new tokens of all rows laid end to end, [1, T], without padding: one token of each row
that is being written, and a stretch of each prompt that is being read. In each layer the former are
computed together, the latter one by one.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from moli.models.engine.cache import Cache

NAME = "moli_rows"


@dataclass(frozen=True, slots=True)
class Stretch:
    """Tokens begin to end of a pass, which are a row's tokens from `start` on."""

    begin: int
    end: int
    slot: int
    start: int


@dataclass(slots=True)
class Layout:
    """Where the tokens of a pass belong.

    Attributes:
        slots, places: the slot and the place of each token, [T].
        written: how many rows are being written; their tokens come first, one each.
        lengths: tokens of each written row, the new one included, [written].
        stretches: those of prompts.
    """

    cache: Cache
    slots: torch.Tensor
    places: torch.Tensor
    written: int
    lengths: torch.Tensor
    stretches: tuple[Stretch, ...]
    masks: dict[Any, torch.Tensor] = field(default_factory=dict)
    _rows: torch.Tensor | None = None

    def rows(self) -> torch.Tensor:
        """The written row of each slot, [slots]; arbitrary for a slot that has none."""
        if self._rows is None:
            own = self.slots[: self.written]
            self._rows = own.new_zeros(int(own.max()) + 1)
            self._rows[own] = torch.arange(self.written, device=own.device)
        return self._rows

    def mask(self, window: int, like: torch.Tensor) -> torch.Tensor:
        """What each written row must not see, as -inf to add to its scores, [slots, 1, 1, L]."""
        if window not in self.masks:
            slots, longest = len(self.rows()), int(self.lengths.max())
            lengths = torch.ones(slots, dtype=torch.long, device=like.device)
            lengths[self.slots[: self.written]] = self.lengths
            place = torch.arange(longest, device=like.device)
            seen = place < lengths[:, None]
            if window:
                seen &= place >= lengths[:, None] - window
            mask = torch.zeros(slots, longest, dtype=like.dtype, device=like.device)
            self.masks[window] = mask.masked_fill_(~seen, float("-inf"))[:, None, None]
        return self.masks[window]


layout: ContextVar[Layout] = ContextVar("layout")


def register() -> None:
    """Make `attn_implementation="moli_rows"` known to transformers."""
    from transformers import AttentionInterface, AttentionMaskInterface

    AttentionInterface.register(NAME, row_attention)
    AttentionMaskInterface.register(NAME, lambda *_, **__: None)


def row_attention(
    module: Any,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,  # noqa: ARG001 - the layout says what is seen
    **options: Any,
) -> tuple[torch.Tensor, None]:
    """Keep the new keys and values, and attend to all that each row has.

    Args:
        query: [1, H, T, D].
        key, value: [1, K, T, D], where K divides H.

    Returns:
        [1, T, H, D], and None for the probabilities.

    Raises:
        NotImplementedError: the model changes its scores in a way that is not computed here.
    """
    for unknown in ("softcap", "s_aux", "position_bias"):
        if options.get(unknown) is not None:
            raise NotImplementedError(f"attention with {unknown}")
    now = layout.get()
    keys, values = now.cache.layer(module.layer_idx, key, value)
    keys[now.slots, :, now.places] = key[0].transpose(0, 1)
    values[now.slots, :, now.places] = value[0].transpose(0, 1)
    scale = options.get("scaling") or query.shape[-1] ** -0.5
    window = options.get("sliding_window") or 0
    mixed = query.new_empty(query.shape[2], query.shape[1], value.shape[-1])
    if now.written:
        mixed[: now.written] = _written(query[0], keys, values, now, window, scale)
    for each in now.stretches:
        mixed[each.begin : each.end] = _stretch(query[0], keys, values, each, window, scale)
    return mixed.unsqueeze(0), None


def _written(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    now: Layout,
    window: int,
    scale: float,
) -> torch.Tensor:
    """One token of each row, [written, H, D]. Queries that share keys are rows of one product."""
    mask = now.mask(window, query)
    slots, longest = mask.shape[0], mask.shape[-1]
    asked = query.index_select(1, now.rows()).transpose(0, 1)
    grouped = asked.reshape(slots, keys.shape[1], -1, query.shape[2])
    seen = keys[:slots, :, :longest], values[:slots, :, :longest]
    if query.dtype == torch.float32 and query.device.type == "cpu":
        mixed = _plain(grouped, *seen, mask, scale)
    else:
        mixed = scaled_dot_product_attention(grouped, *seen, attn_mask=mask, scale=scale)
    return mixed.flatten(1, 2).index_select(0, now.slots[: now.written])


def _plain(
    query: torch.Tensor, keys: torch.Tensor, values: torch.Tensor, mask: torch.Tensor, scale: float
) -> torch.Tensor:
    """Two products and a softmax: with so few queries faster than torch's fused kernel."""
    rows, heads = query.shape[:2]
    scores = torch.bmm((query * scale).flatten(0, 1), keys.flatten(0, 1).transpose(1, 2))
    probabilities = torch.softmax(scores.view(rows, heads, -1, keys.shape[2]).add_(mask), -1)
    mixed = torch.bmm(probabilities.flatten(0, 1), values.flatten(0, 1))
    return mixed.view(rows, heads, -1, values.shape[3])


def _stretch(
    query: torch.Tensor,
    keys: torch.Tensor,
    values: torch.Tensor,
    each: Stretch,
    window: int,
    scale: float,
) -> torch.Tensor:
    """A part of a prompt, [T, H, D]."""
    count, length = each.end - each.begin, each.start + each.end - each.begin
    seen = None
    if each.start or (window and window < length):
        place = torch.arange(each.start, length, device=query.device)[:, None]
        other = torch.arange(length, device=query.device)[None]
        seen = other <= place
        if window:
            seen &= other > place - window
    mixed = scaled_dot_product_attention(
        query[None, :, each.begin : each.end],
        keys[None, each.slot, :, :length],
        values[None, each.slot, :, :length],
        attn_mask=seen,
        is_causal=seen is None and count > 1,
        scale=scale,
        enable_gqa=query.shape[0] != keys.shape[1],
    )
    return mixed[0].transpose(0, 1)
