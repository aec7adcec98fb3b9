"""Losses as functions of tensors."""

from __future__ import annotations

from typing import Any

import torch

# Logits that exist at once in float32, in elements: 16 MiB.
_CHUNK = 1 << 22


class _TokenCrossEntropy(torch.autograd.Function):
    """The last layer and the cross-entropy in one pass over the vocabulary.

    A token's loss depends on its own state alone, so its gradient is known as soon as its logits
    are: they are replaced by it, chunk by chunk, and never all there in float32. Where the layer is
    frozen they are not kept at all.
    """

    @staticmethod
    def forward(
        ctx: Any, states: torch.Tensor, weight: torch.Tensor, wanted: torch.Tensor
    ) -> torch.Tensor:
        rows = max(1, _CHUNK // len(weight))
        losses = torch.empty(len(states), dtype=torch.float32, device=states.device)
        learns_states, learns_weight, _ = ctx.needs_input_grad
        kept = states.new_empty(len(states), len(weight)) if learns_weight else None
        moved = torch.empty_like(states) if learns_states else None
        for first in range(0, len(states), rows):
            span = slice(first, first + rows)
            logits = states[span] @ weight.t()
            right = wanted[span, None]
            chosen, highest = logits.gather(1, right).float(), logits.amax(1, keepdim=True).float()
            slope = torch.softmax(logits, 1, dtype=torch.float32)
            # The highest probability is exp(highest - total): no second pass of exponentials.
            total = highest - slope.amax(1, keepdim=True).log()
            losses[span] = (total - chosen).squeeze(1)
            if moved is None and kept is None:
                continue
            # softmax(logits) - onehot(wanted)
            slope.scatter_add_(1, right, torch.full_like(chosen, -1.0))
            narrow = slope.to(states.dtype)
            if moved is not None:
                moved[span] = narrow @ weight
            if kept is not None:
                kept[span] = narrow
        ctx.save_for_backward(states if learns_weight else None, moved, kept)
        return losses

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        states, moved, kept = ctx.saved_tensors
        by_row = gradient[:, None]
        to_states = None if moved is None else moved * by_row.to(moved.dtype)
        to_weight = None
        if kept is not None:
            to_weight = kept.t() @ (states * by_row.to(states.dtype))
        return to_states, to_weight, None


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
