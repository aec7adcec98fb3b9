"""Attention by segments on a CPU.

The scores of a block of queries are two plain matrix products with a softmax between them (Vaswani
et al. 2017, section 3.2.1), and stay in the cache. In bfloat16 that takes half the time of torch's
fused kernel forwards and backwards, and a causal block multiplies only with the keys before its
end.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import torch

from moli.training.kernels.attention_pattern import AttentionPattern, Segments, visible_keys
from moli.training.kernels.dropout import drop

# Queries that are scored at once: many enough for a matrix product, few enough for the cache.
_BLOCK = 256
# Attention weights kept for the backward pass, in elements; beyond, they are computed a second
# time.
_KEPT = 1 << 25


def attend(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    segments: Segments | None,
    scale: float,
    pattern: AttentionPattern,
) -> torch.Tensor:
    """Attention within each segment: [N, H, T, D].

    Args:
        query: [N, H, T, D].
        key, value: [N, K, S, D], where K divides H.
        segments: the borders of the segments; None where each row is one segment.
    """
    if segments is None:
        spans = [_Span(slice(0, query.shape[2]), slice(0, key.shape[2]))]
    else:
        borders = (segments.cu_seqlens.tolist(), segments.key_cu_seqlens.tolist())
        pairs = ([slice(*each) for each in pairwise(own)] for own in borders)
        spans = [_Span(*each) for each in zip(*pairs, strict=True)]
    rows = [
        _apply(q, k, v, spans, scale, pattern) for q, k, v in zip(query, key, value, strict=True)
    ]
    return rows[0].unsqueeze(0) if len(rows) == 1 else torch.stack(rows)


@dataclass(frozen=True, slots=True)
class _Span:
    """A segment: its queries and its keys, as slices of all of them."""

    queries: slice
    keys: slice

    @property
    def lengths(self) -> tuple[int, int]:
        """Numbers of its queries and of its keys."""
        queries, keys = self.queries, self.keys
        return queries.stop - queries.start, keys.stop - keys.start


@dataclass(frozen=True, slots=True)
class _Block:
    """A block of queries and the keys that they may see, as slices of their segment.

    Attributes:
        hidden: mask of the keys in the slice that a query may not see; None if it sees them all.
    """

    queries: slice
    keys: slice
    hidden: torch.Tensor | None

    @property
    def size(self) -> int:
        """Number of scores for one head."""
        return int((self.queries.stop - self.queries.start) * (self.keys.stop - self.keys.start))


def _blocks(span: _Span, pattern: AttentionPattern) -> Iterator[_Block]:
    """The blocks of a segment: a single one, unless its queries do not see later keys."""
    length, keys = span.lengths
    if not pattern.causal:
        yield _Block(slice(0, length), slice(0, keys), None)
        return
    window, offset = pattern.window, keys - length  # a query's position is `offset` plus its index
    for first in range(0, length, _BLOCK):
        last = min(first + _BLOCK, length)
        lowest = max(0, offset + first - window + 1) if window else 0
        end = offset + last
        visible = visible_keys(last - first, offset + first - lowest, end - lowest, window)
        yield _Block(slice(first, last), slice(lowest, end), ~visible)


class _SegmentAttention(torch.autograd.Function):
    """Attention from q [H, T, D], k and v [K, S, D] to [H, T, D]; queries of a group share keys.

    Each segment is copied to where its heads lie one after another, which is the only form that the
    matrix products take without copying by themselves; the scale is worked in on the way.
    """

    @staticmethod
    def forward(
        ctx: Any,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        spans: list[_Span],
        scale: float,
        pattern: AttentionPattern,
    ) -> torch.Tensor:
        """Attention within segments: [H, T, D]."""
        dropout = pattern.dropout
        blocks = [list(_blocks(each, pattern)) for each in spans]
        size = len(q) * sum(block.size for own_blocks in blocks for block in own_blocks)
        ctx.keeps = any(ctx.needs_input_grad) and (size <= _KEPT or dropout > 0)
        mixed = _empty_by_token(q)
        inputs: list[torch.Tensor] = []
        kept: list[torch.Tensor] = []
        for span, own_blocks in zip(spans, blocks, strict=True):
            q_ = _group_heads(q, span.queries, len(k), scale)
            k_, v_ = k[:, span.keys].contiguous(), v[:, span.keys].contiguous()
            for block in own_blocks:
                p = _attention_weights(q_, k_, block)
                dropped, mask, ctx.dropped = drop(p, dropout) if dropout else (p, p, 1.0)
                out = mixed[:, span.queries][:, block.queries]
                out.copy_((dropped @ v_[:, block.keys]).view(out.shape))
                if ctx.keeps:
                    kept += [p, mask] if dropout else [p]
            inputs += [q_, k_, v_]
        ctx.spans, ctx.blocks, ctx.scale, ctx.dropout = spans, blocks, scale, dropout
        ctx.save_for_backward(*inputs, *kept)
        return mixed

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        """Gradients of q, k and v; None for the other arguments."""
        saved, count = ctx.saved_tensors, 3 * len(ctx.spans)
        inputs, kept, keys = iter(saved[:count]), iter(saved[count:]), len(saved[1])
        dq, length = _empty_by_token(gradient), ctx.spans[-1].keys.stop
        # Several blocks see the same keys.
        dk, dv = (_empty_by_token(gradient, keys, length).zero_() for _ in range(2))
        for span, own_blocks in zip(ctx.spans, ctx.blocks, strict=True):
            q, k, v = next(inputs), next(inputs), next(inputs)
            g = _group_heads(gradient, span.queries, keys)
            for block in own_blocks:
                p = next(kept) if ctx.keeps else _attention_weights(q, k, block)
                g_, used = _block_rows(g, block.queries), p
                dp = g_ @ v[:, block.keys].transpose(1, 2)
                if ctx.dropout:
                    mask = next(kept) * ctx.dropped
                    used, dp = p * mask, dp.mul_(mask)
                dv[:, span.keys][:, block.keys] += used.transpose(1, 2) @ g_
                ds = torch.ops.aten._softmax_backward_data(dp, p, -1, p.dtype)
                out = dq[:, span.queries][:, block.queries]
                torch.mul((ds @ k[:, block.keys]).view(out.shape), ctx.scale, out=out)
                dk[:, span.keys][:, block.keys] += ds.transpose(1, 2) @ _block_rows(
                    q, block.queries
                )
        return dq, dk, dv, None, None, None


_apply: Any = _SegmentAttention.apply


def _empty_by_token(like: torch.Tensor, heads: int = 0, length: int = 0) -> torch.Tensor:
    """An uninitialized tensor [H, T, D], laid out token by token as the linear layers need it.

    Args:
        like: a tensor of the same width and type.
        heads, length: H and T; 0 for those of `like`.
    """
    own_heads, own_length, width = like.shape
    return like.new_empty(length or own_length, heads or own_heads, width).transpose(0, 1)


def _group_heads(q: torch.Tensor, segment: slice, keys: int, scale: float = 1.0) -> torch.Tensor:
    """A scaled copy of a segment of [H, T, D] as [K, H/K, L, D]."""
    copy = q.new_empty(q.shape[0], segment.stop - segment.start, q.shape[2])
    torch.mul(q[:, segment], scale, out=copy)
    return copy.view(keys, -1, *copy.shape[1:])


def _block_rows(q: torch.Tensor, span: slice) -> torch.Tensor:
    """The queries of a block, those of a group below each other: [K, G * L, D]."""
    return q[:, :, span].flatten(1, 2)


def _attention_weights(q: torch.Tensor, k: torch.Tensor, block: _Block) -> torch.Tensor:
    """Softmax of a block's scores, [K, G * L, keys], from queries that are scaled."""
    scores = _block_rows(q, block.queries) @ k[:, block.keys].transpose(1, 2)
    if block.hidden is not None:
        rows = scores.view(scores.shape[0], q.shape[1], -1, scores.shape[-1])
        rows.masked_fill_(block.hidden, float("-inf"))
    return torch.softmax(scores, -1)
