"""Losses as functions of tensors."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import torch

# Logits that exist at once in float32, in elements: 64 MiB. Each chunk reads the whole layer, so
# small ones are slow: 16 MiB took 1.4 to 1.7 times as long.
_CHUNK = 1 << 24
# Gradients of logits that are kept for a trained layer, in elements; beyond, they are computed a
# second time.
_KEPT = 1 << 27


class _TokenCrossEntropy(torch.autograd.Function):
    """The last layer and the cross-entropy in one pass over the vocabulary.

    A token's loss depends on its own state alone, so its gradient is known as soon as its logits
    are: they are replaced by it, chunk by chunk, and never all there in float32. Where the layer is
    frozen, or there are too many, they are not kept at all.
    """

    @staticmethod
    def forward(
        ctx: Any, states: torch.Tensor, weight: torch.Tensor, wanted: torch.Tensor
    ) -> torch.Tensor:
        losses = torch.empty(len(states), dtype=torch.float32, device=states.device)
        learns_states, learns_weight, _ = ctx.needs_input_grad
        few = len(states) * len(weight) <= _KEPT
        kept = states.new_empty(len(states), len(weight)) if learns_weight and few else None
        moved = torch.empty_like(states) if learns_states else None
        for span in _chunks(len(states), len(weight)):
            logits = states[span] @ weight.t()
            chosen = logits.gather(1, wanted[span, None]).float()
            highest = logits.amax(1, keepdim=True).float()
            probabilities = _softmax(logits)
            # The highest probability is exp(highest - total): no second pass of exponentials.
            total = highest - probabilities.amax(1, keepdim=True).log()
            losses[span] = (total - chosen).squeeze(1)
            if moved is None and kept is None:
                continue
            slope = _slope(probabilities, wanted[span]).to(states.dtype)
            if moved is not None:
                moved[span] = slope @ weight
            if kept is not None:
                kept[span] = slope
        again = (weight, wanted) if learns_weight and not few else (None, None)
        ctx.save_for_backward(states if learns_weight else None, moved, kept, *again)
        return losses

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        states, moved, kept, weight, wanted = ctx.saved_tensors
        by_row = gradient[:, None]
        to_states = None if moved is None else moved * by_row.to(moved.dtype)
        to_weight = None
        if kept is not None:
            to_weight = kept.t() @ (states * by_row.to(states.dtype))
        elif weight is not None:
            to_weight = _to_weight(states, weight, wanted, by_row)
        return to_states, to_weight, None


def _chunks(items: int, vocabulary: int) -> Iterator[slice]:
    rows = max(1, _CHUNK // vocabulary)
    return (slice(first, first + rows) for first in range(0, items, rows))


def _softmax(logits: torch.Tensor) -> torch.Tensor:
    """In float32, in the place of the logits if they are."""
    place = logits if logits.dtype == torch.float32 else None
    return torch.softmax(logits, 1, dtype=torch.float32, out=place)


def _slope(probabilities: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
    """The gradient of the loss by the logits, in the place of their softmax: p - onehot(wanted)."""
    right = wanted[:, None]
    minus = torch.full_like(right, -1.0, dtype=probabilities.dtype)
    return probabilities.scatter_add_(1, right, minus)


def _to_weight(
    states: torch.Tensor, weight: torch.Tensor, wanted: torch.Tensor, by_row: torch.Tensor
) -> torch.Tensor:
    """The gradient of the layer, from logits that are computed again."""
    total = torch.zeros_like(weight, dtype=torch.float32)
    rows = max(1, _KEPT // len(weight))
    for first in range(0, len(states), rows):
        some, right = states[first : first + rows], wanted[first : first + rows]
        slope = some.new_empty(len(some), len(weight))
        for span in _chunks(len(some), len(weight)):
            probabilities = _softmax(some[span] @ weight.t())
            slope[span] = _slope(probabilities, right[span]).to(some.dtype)
        total += slope.t() @ (some * by_row[first : first + rows].to(some.dtype))
    return total.to(weight.dtype)


_apply: Any = _TokenCrossEntropy.apply


def token_cross_entropy(
    states: torch.Tensor, weight: torch.Tensor, wanted: torch.Tensor
) -> torch.Tensor:
    """-log softmax(states weight')[wanted], by item.

    Args:
        states: [items, width].
        weight: of the last layer, [vocabulary, width].
        wanted: ids, [items].

    Returns:
        [items], in float32.
    """
    losses: torch.Tensor = _apply(states, weight, wanted)
    return losses
