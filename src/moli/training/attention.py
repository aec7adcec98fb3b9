"""Attention by segments: several sequences in one row, none of which sees another.

A batch is its sequences laid end to end, [1, T], without padding. transformers hands each layer's
queries, keys and values to the function registered here, with the segments' borders as
`cu_seq_lens_q`, the name that its own variable-length kernels use.

On a CPU the scores of a block of queries are two plain matrix products with a softmax between them
(Vaswani et al. 2017, section 3.2.1), and stay in the cache. In bfloat16 that takes half the time of
torch's fused kernel forwards and backwards, and a causal block multiplies only with the keys before
its end.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch
from torch.nn.functional import scaled_dot_product_attention

from moli.training.dropout import drop

NAME = "moli_segments"
# Queries that are scored at once: many enough for a matrix product, few enough for the cache.
_BLOCK = 256
# Probabilities kept for the backward pass, in elements; beyond, they are computed a second time.
_KEPT = 1 << 25


def register() -> None:
    """Make `attn_implementation="moli_segments"` known to transformers."""
    from transformers import AttentionInterface, AttentionMaskInterface
    from transformers.masking_utils import sdpa_mask

    def mask(*arguments: Any, **options: Any) -> Any:
        """No mask: borders are given as segments. Padded batches get the one of SDPA."""
        return None if options.get("attention_mask") is None else sdpa_mask(*arguments, **options)

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
    """Attention within each segment, in the form that transformers asks for.

    Args:
        query: [N, H, T, D].
        key, value: [N, K, T, D], where K divides H (grouped queries, Ainslie et al. 2023).
        attention_mask: of a padded batch, which goes to SDPA; None for one laid end to end.

    Returns:
        [N, T, H, D], and None for the probabilities.

    Raises:
        NotImplementedError: the model changes its scores in a way that is not computed here.
    """
    if attention_mask is not None or query.shape[2] != key.shape[2]:
        from transformers.integrations.sdpa_attention import sdpa_attention_forward

        return sdpa_attention_forward(module, query, key, value, attention_mask, **options)
    for unknown in ("softcap", "s_aux", "position_bias"):
        if options.get(unknown) is not None:
            raise NotImplementedError(f"attention with {unknown} is not computed by segments")
    causal = options.get("is_causal")
    causal = getattr(module, "is_causal", True) if causal is None else causal
    borders = options.get("cu_seq_lens_q")
    ends = [query.shape[2]] if borders is None else borders.tolist()[1:]
    scale = options.get("scaling") or query.shape[-1] ** -0.5
    window = options.get("sliding_window") or 0
    dropout = float(options.get("dropout") or 0.0)
    rows = []
    for q, k, v in zip(query, key, value, strict=True):
        if q.device.type == "cpu":
            rows.append(_apply(q, k, v, ends, scale, (causal, window, dropout)))
        else:
            rows.append(_fused(q, k, v, ends, scale, (causal, window, dropout)))
    mixed = rows[0].unsqueeze(0) if len(rows) == 1 else torch.stack(rows)
    return mixed.transpose(1, 2), None


Pattern = tuple[bool, int, float]  # causal; keys that a query sees, 0 for all; dropout


def _fused(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    ends: list[int],
    scale: float,
    pattern: Pattern,
) -> torch.Tensor:
    """A fused kernel for each segment, on devices that have good ones."""
    causal, window, dropout = pattern
    parts, begin = [], 0
    for end in ends:
        q_, k_, v_ = (each[None, :, begin:end] for each in (q, k, v))
        seen = None
        if window and window < end - begin:
            seen = _visible(end - begin, 0, end - begin, window, q.device)[None]
        parts.append(
            scaled_dot_product_attention(
                q_,
                k_,
                v_,
                attn_mask=seen,
                dropout_p=dropout,
                is_causal=causal and seen is None,
                scale=scale,
                enable_gqa=q.shape[0] != k.shape[0],
            )[0]
        )
        begin = end
    return torch.cat(parts, 1)


class _Block:
    """A block of queries and the keys that it may see, as slices of the row."""

    __slots__ = ("hidden", "keys", "queries")

    def __init__(self, queries: slice, keys: slice, hidden: torch.Tensor | None) -> None:
        self.queries, self.keys, self.hidden = queries, keys, hidden


def _blocks(ends: list[int], pattern: Pattern) -> Iterator[_Block]:
    causal, window, _ = pattern
    begin = 0
    for end in ends:
        if not causal:
            yield _Block(slice(begin, end), slice(begin, end), None)
        else:
            for first in range(begin, end, _BLOCK):
                last = min(first + _BLOCK, end)
                lowest = max(begin, first - window + 1) if window else begin
                seen = _visible(last - first, first - lowest, last - lowest, window)
                yield _Block(slice(first, last), slice(lowest, last), ~seen)
        begin = end


def _visible(
    queries: int, offset: int, keys: int, window: int, device: torch.device | str = "cpu"
) -> torch.Tensor:
    """Which keys each query sees, [queries, keys], where query i stands at key offset + i."""
    place = torch.arange(offset, offset + queries, device=device)[:, None]
    other = torch.arange(keys, device=device)[None]
    seen = other <= place
    return seen & (other > place - window) if window else seen


class _Segments(torch.autograd.Function):
    """q [H, T, D], k and v [K, T, D] to [H, T, D]; queries of a group share their keys."""

    @staticmethod
    def forward(
        ctx: Any,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        ends: list[int],
        scale: float,
        pattern: Pattern,
    ) -> torch.Tensor:
        blocks = list(_blocks(ends, pattern))
        q, k, v = _grouped(q, k.shape[0]), k.contiguous(), v.contiguous()
        mixed = torch.empty_like(q)
        size = (
            q.shape[0]
            * q.shape[1]
            * sum((b.queries.stop - b.queries.start) * (b.keys.stop - b.keys.start) for b in blocks)
        )
        ctx.keeps = any(ctx.needs_input_grad) and (size <= _KEPT or pattern[2] > 0)
        kept: list[torch.Tensor] = []
        for block in blocks:
            p = _probabilities(q, k, block, scale)
            dropped, mask, ctx.dropped_scale = drop(p, pattern[2]) if pattern[2] else (p, p, 1.0)
            mixed[:, :, block.queries] = _unfold(dropped @ v[:, block.keys], q.shape[1])
            if ctx.keeps:
                kept += [p, mask] if pattern[2] else [p]
        ctx.blocks, ctx.scale, ctx.dropout = blocks, scale, pattern[2]
        ctx.save_for_backward(q, k, v, mixed, *kept)
        return mixed.flatten(0, 1)

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        q, k, v, mixed, *kept = ctx.saved_tensors
        groups = q.shape[1]
        gradient = _grouped(gradient, k.shape[0])
        # The row's part of the softmax's derivative (Dao et al. 2022, appendix B.4).
        wide = torch.promote_types(q.dtype, torch.float32)
        rows = (gradient.to(wide) * mixed.to(wide)).sum(-1, keepdim=True).to(q.dtype)
        dq, dk, dv = torch.empty_like(q), torch.zeros_like(k), torch.zeros_like(v)
        each = iter(kept)
        for block in ctx.blocks:
            p = next(each) if ctx.keeps else _probabilities(q, k, block, ctx.scale)
            g, used = _fold(gradient, block.queries), p
            dp = g @ v[:, block.keys].transpose(1, 2)
            if ctx.dropout:
                mask = next(each) * ctx.dropped_scale
                used, dp = p * mask, dp.mul_(mask)
            dv[:, block.keys] += used.transpose(1, 2) @ g
            ds = dp.sub_(_fold(rows, block.queries)).mul_(p).mul_(ctx.scale)
            dq[:, :, block.queries] = _unfold(ds @ k[:, block.keys], groups)
            dk[:, block.keys] += ds.transpose(1, 2) @ _fold(q, block.queries)
        return dq.flatten(0, 1), dk, dv, None, None, None


_apply: Any = _Segments.apply


def _grouped(q: torch.Tensor, keys: int) -> torch.Tensor:
    """[H, T, D] as [K, H/K, T, D]."""
    return q.contiguous().view(keys, q.shape[0] // keys, *q.shape[1:])


def _fold(q: torch.Tensor, span: slice) -> torch.Tensor:
    """The queries of a block with those of their group below each other: [K, G * L, D]."""
    return q[:, :, span].flatten(1, 2)


def _unfold(mixed: torch.Tensor, groups: int) -> torch.Tensor:
    return mixed.view(mixed.shape[0], groups, -1, mixed.shape[-1])


def _probabilities(q: torch.Tensor, k: torch.Tensor, block: _Block, scale: float) -> torch.Tensor:
    """[K, G * L, keys]"""
    scores = (_fold(q, block.queries) @ k[:, block.keys].transpose(1, 2)).mul_(scale)
    if block.hidden is not None:
        _unfold(scores, q.shape[1]).masked_fill_(block.hidden, float("-inf"))
    return torch.softmax(scores, -1)
