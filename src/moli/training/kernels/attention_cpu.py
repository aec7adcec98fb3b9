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

from moli.training.kernels.attention_pattern import AttentionPattern, visible_keys
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
    cu_seqlens: torch.Tensor | None,
    scale: float,
    pattern: AttentionPattern,
) -> torch.Tensor:
    """Attention within each segment: [N, H, T, D].

    Args:
        query: [N, H, T, D].
        key, value: [N, K, T, D], where K divides H.
        cu_seqlens: indices where segments begin and end, [segments + 1]; None where each row is
            one segment.
    """
    ends = [query.shape[2]] if cu_seqlens is None else cu_seqlens.tolist()[1:]
    rows = [
        _apply(q, k, v, ends, scale, pattern) for q, k, v in zip(query, key, value, strict=True)
    ]
    return rows[0].unsqueeze(0) if len(rows) == 1 else torch.stack(rows)


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


def _blocks(length: int, pattern: AttentionPattern) -> Iterator[_Block]:
    """The blocks of a segment: a single one, unless its queries do not see later keys."""
    if not pattern.causal:
        yield _Block(slice(0, length), slice(0, length), None)
        return
    window = pattern.window
    for first in range(0, length, _BLOCK):
        last = min(first + _BLOCK, length)
        lowest = max(0, first - window + 1) if window else 0
        visible = visible_keys(last - first, first - lowest, last - lowest, window)
        yield _Block(slice(first, last), slice(lowest, last), ~visible)


class _SegmentAttention(torch.autograd.Function):
    """Attention from q [H, T, D], k and v [K, T, D] to [H, T, D]; queries of a group share keys.

    Each segment is copied to where its heads lie one after another, which is the only form that the
    matrix products take without copying by themselves; the scale is worked in on the way.
    """

    @staticmethod
    def forward(
        ctx: Any,
        q: torch.Tensor,
        k: torch.Tensor,
        v: torch.Tensor,
        ends: list[int],
        scale: float,
        pattern: AttentionPattern,
    ) -> torch.Tensor:
        """Attention within segments, which end at the indices `ends`: [H, T, D]."""
        dropout = pattern.dropout
        segments = [slice(*borders) for borders in pairwise([0, *ends])]
        blocks = [list(_blocks(each.stop - each.start, pattern)) for each in segments]
        size = len(q) * sum(block.size for own_blocks in blocks for block in own_blocks)
        ctx.keeps = any(ctx.needs_input_grad) and (size <= _KEPT or dropout > 0)
        mixed = _empty_by_token(q)
        inputs: list[torch.Tensor] = []
        kept: list[torch.Tensor] = []
        for segment, own_blocks in zip(segments, blocks, strict=True):
            q_ = _group_heads(q, segment, len(k), scale)
            k_, v_ = k[:, segment].contiguous(), v[:, segment].contiguous()
            for block in own_blocks:
                p = _attention_weights(q_, k_, block)
                dropped, mask, ctx.dropped = drop(p, dropout) if dropout else (p, p, 1.0)
                out = mixed[:, segment][:, block.queries]
                out.copy_((dropped @ v_[:, block.keys]).view(out.shape))
                if ctx.keeps:
                    kept += [p, mask] if dropout else [p]
            inputs += [q_, k_, v_]
        ctx.segments, ctx.blocks, ctx.scale, ctx.dropout = segments, blocks, scale, dropout
        ctx.save_for_backward(*inputs, *kept)
        return mixed

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        """Gradients of q, k and v; None for the other arguments."""
        saved, count = ctx.saved_tensors, 3 * len(ctx.segments)
        inputs, kept, keys = iter(saved[:count]), iter(saved[count:]), len(saved[1])
        dq = _empty_by_token(gradient)
        # Several blocks see the same keys.
        dk, dv = (_empty_by_token(gradient, keys).zero_() for _ in range(2))
        for segment, own_blocks in zip(ctx.segments, ctx.blocks, strict=True):
            q, k, v = next(inputs), next(inputs), next(inputs)
            g = _group_heads(gradient, segment, keys)
            for block in own_blocks:
                p = next(kept) if ctx.keeps else _attention_weights(q, k, block)
                g_, used = _block_rows(g, block.queries), p
                dp = g_ @ v[:, block.keys].transpose(1, 2)
                if ctx.dropout:
                    mask = next(kept) * ctx.dropped
                    used, dp = p * mask, dp.mul_(mask)
                dv[:, segment][:, block.keys] += used.transpose(1, 2) @ g_
                ds = torch.ops.aten._softmax_backward_data(dp, p, -1, p.dtype)
                out = dq[:, segment][:, block.queries]
                torch.mul((ds @ k[:, block.keys]).view(out.shape), ctx.scale, out=out)
                dk[:, segment][:, block.keys] += ds.transpose(1, 2) @ _block_rows(q, block.queries)
        return dq, dk, dv, None, None, None


_apply: Any = _SegmentAttention.apply


def _empty_by_token(like: torch.Tensor, heads: int = 0) -> torch.Tensor:
    """An uninitialized tensor [H, T, D], laid out token by token as the linear layers need it.

    Args:
        like: a tensor of the same length, width and type.
        heads: H; 0 for that of `like`.
    """
    own_heads, length, width = like.shape
    return like.new_empty(length, heads or own_heads, width).transpose(0, 1)


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
