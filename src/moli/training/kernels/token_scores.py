"""Log probabilities of chosen tokens and entropies, without ever holding all logits."""

from __future__ import annotations

from typing import Any

import torch

from moli.training.kernels.losses import item_chunks


class _TokenScores(torch.autograd.Function):
    """The last layer, log probabilities and entropies in one pass over the vocabulary.

    As in a cross-entropy, the gradient of a log probability by its state is known as soon as the
    logits are, and is kept instead of them. That of entropies, which most losses leave out, is
    computed from logits that are made a second time.
    """

    @staticmethod
    def forward(
        ctx: Any, states: torch.Tensor, weight: torch.Tensor, ids: torch.Tensor, temperature: float
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Both [items]; the arguments are those of `token_scores`."""
        logprobs = torch.empty(len(states), dtype=_wide(states), device=states.device)
        entropies = torch.empty_like(logprobs)
        by_states = torch.empty_like(states) if ctx.needs_input_grad[0] else None
        for chunk in item_chunks(len(states), len(weight)):
            logits = _logits(states[chunk], weight, temperature)
            columns, total = ids[chunk, None], logits.logsumexp(1)
            logprobs[chunk] = logits.gather(1, columns)[:, 0] - total
            probabilities = (logits - total[:, None]).exp_()
            entropies[chunk] = total - torch.linalg.vecdot(probabilities, logits)
            if by_states is not None:
                by_logits = probabilities.neg_().scatter_add_(
                    1, columns, torch.ones_like(columns, dtype=logits.dtype)
                )
                by_states[chunk] = by_logits.div_(temperature).to(states.dtype) @ weight
        ctx.temperature = temperature
        ctx.set_materialize_grads(False)
        ctx.save_for_backward(states, weight, by_states)
        return logprobs, entropies

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> tuple[Any, ...]:
        """The gradient by the states, from those of log probabilities and entropies, [items]."""
        states, weight, by_states = ctx.saved_tensors
        by_logprobs, by_entropies = gradients
        total = torch.zeros_like(states)
        if by_logprobs is not None:
            total += by_states * by_logprobs[:, None].to(states.dtype)
        if by_entropies is not None and bool(by_entropies.any()):
            for chunk in item_chunks(len(states), len(weight)):
                logprobs = _logits(states[chunk], weight, ctx.temperature).log_softmax(1)
                probabilities = logprobs.exp()
                entropies = -torch.linalg.vecdot(probabilities, logprobs)
                by_logits = probabilities.mul_(logprobs.add_(entropies[:, None])).neg_()
                by_logits *= by_entropies[chunk, None] / ctx.temperature
                total[chunk] += by_logits.to(states.dtype) @ weight
        return total, None, None, None


def _wide(states: torch.Tensor) -> torch.dtype:
    """The type of the sums: float32, or that of the states if it is wider."""
    return torch.promote_types(states.dtype, torch.float32)


def _logits(states: torch.Tensor, weight: torch.Tensor, temperature: float) -> torch.Tensor:
    """Logits over the temperature, [items, vocabulary]."""
    return (states @ weight.t()).to(_wide(states)).div_(temperature)


_apply: Any = _TokenScores.apply


def token_scores(
    states: torch.Tensor, weight: torch.Tensor, ids: torch.Tensor, temperature: float = 1.0
) -> tuple[torch.Tensor, torch.Tensor]:
    """log softmax(states weight' / temperature)[ids] and the entropy of each such distribution.

    Args:
        states: [items, width].
        weight: weight of the last layer, [vocabulary, width]; it is frozen.
        ids: tokens, [items].

    Returns:
        Log probabilities and entropies in nats, both [items], in float32 at least.

    Raises:
        ValueError: the weight is trained: it would get no gradient.
    """
    if weight.requires_grad and torch.is_grad_enabled():
        raise ValueError("the last layer has to be frozen")
    logprobs, entropies = _apply(states, weight, ids, temperature)
    return logprobs, entropies
