"""Cross-entropy over a large vocabulary that never holds all logits in float32."""

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

    A token's loss depends on its own state alone, so the gradient by its logits is known as soon as
    the logits are. Logits are replaced by these gradients, chunk by chunk, and never exist all at
    once in float32. The gradients are not kept if the layer is frozen; if they would take too much
    memory, the backward pass computes them again.
    """

    @staticmethod
    def forward(
        ctx: Any, states: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor
    ) -> torch.Tensor:
        """Cross-entropy of each item, [items]; the arguments are those of `token_cross_entropy`."""
        losses = torch.empty(len(states), dtype=torch.float32, device=states.device)
        needs_states, needs_weight, _ = ctx.needs_input_grad
        few = len(states) * len(weight) <= _KEPT
        by_logits = states.new_empty(len(states), len(weight)) if needs_weight and few else None
        by_states = torch.empty_like(states) if needs_states else None
        for chunk in item_chunks(len(states), len(weight)):
            logits = states[chunk] @ weight.t()
            target_logits = logits.gather(1, targets[chunk, None]).float()
            highest = logits.amax(1, keepdim=True).float()
            probabilities = _softmax(logits)
            # The highest probability is exp(highest - total): no second pass of exponentials.
            total = highest - probabilities.amax(1, keepdim=True).log()
            losses[chunk] = (total - target_logits).squeeze(1)
            if by_states is None and by_logits is None:
                continue
            gradient = _gradient_by_logits(probabilities, targets[chunk]).to(states.dtype)
            if by_states is not None:
                by_states[chunk] = gradient @ weight
            if by_logits is not None:
                by_logits[chunk] = gradient
        again = (weight, targets) if needs_weight and not few else (None, None)
        ctx.save_for_backward(states if needs_weight else None, by_states, by_logits, *again)
        return losses

    @staticmethod
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[Any, ...]:
        """Gradients of states and weight, from the gradient of the losses [items]."""
        states, by_states, by_logits, weight, targets = ctx.saved_tensors
        by_row = gradient[:, None]
        to_states = None if by_states is None else by_states * by_row.to(by_states.dtype)
        to_weight = None
        if by_logits is not None:
            to_weight = by_logits.t() @ (states * by_row.to(states.dtype))
        elif weight is not None:
            to_weight = _recomputed_weight_gradient(states, weight, targets, by_row)
        return to_states, to_weight, None


def item_chunks(items: int, vocabulary_size: int) -> Iterator[slice]:
    """Slices of the items whose logits exist at once."""
    rows = max(1, _CHUNK // vocabulary_size)
    return (slice(first, first + rows) for first in range(0, items, rows))


def _softmax(logits: torch.Tensor) -> torch.Tensor:
    """Softmax in float32; it overwrites the logits if they are in float32 too."""
    out = logits if logits.dtype == torch.float32 else None
    return torch.softmax(logits, 1, dtype=torch.float32, out=out)


def _gradient_by_logits(probabilities: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
    """Gradient of the loss by the logits, p - onehot(targets); it overwrites the probabilities."""
    columns = targets[:, None]
    minus_one = torch.full_like(columns, -1.0, dtype=probabilities.dtype)
    return probabilities.scatter_add_(1, columns, minus_one)


def _recomputed_weight_gradient(
    states: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor, by_row: torch.Tensor
) -> torch.Tensor:
    """Gradient of the layer, from logits that are computed a second time.

    Args:
        by_row: gradient by the losses, [items, 1].
    """
    total = torch.zeros_like(weight, dtype=torch.float32)
    rows = max(1, _KEPT // len(weight))
    for first in range(0, len(states), rows):
        block, block_targets = states[first : first + rows], targets[first : first + rows]
        by_logits = block.new_empty(len(block), len(weight))
        for chunk in item_chunks(len(block), len(weight)):
            probabilities = _softmax(block[chunk] @ weight.t())
            by_logits[chunk] = _gradient_by_logits(probabilities, block_targets[chunk]).to(
                block.dtype
            )
        total += by_logits.t() @ (block * by_row[first : first + rows].to(block.dtype))
    return total.to(weight.dtype)


_apply: Any = _TokenCrossEntropy.apply


def token_cross_entropy(
    states: torch.Tensor, weight: torch.Tensor, targets: torch.Tensor
) -> torch.Tensor:
    """Cross-entropy of each item: -log softmax(states weight')[targets].

    Args:
        states: [items, width].
        weight: weight of the last layer, [vocabulary, width].
        targets: ids, [items].

    Returns:
        [items], in float32.
    """
    losses: torch.Tensor = _apply(states, weight, targets)
    return losses
