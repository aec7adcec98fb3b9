"""Logits of whole sequences, from the classification heads that transformers has."""

from __future__ import annotations

import torch

from moli.training.batching.batches import Batch
from moli.training.tasks.base.pooling import mean_states
from moli.training.tasks.base.wrapped_models import (
    model_to_call,
    model_without_head,
    unwrapped_model,
)


def sequence_logits(model: torch.nn.Module, batch: Batch, *, mean: bool = False) -> torch.Tensor:
    """Logits of each sequence, [sequences, labels], in float32.

    Args:
        mean: whether the head reads the mean of a sequence's states, and not the state of one
            token as transformers has it.
    """
    if mean:
        return logits_of_means(model, sequence_means(model, batch))
    if batch.packed or (_is_causal(model) and model_to_call(model) is unwrapped_model(model)):
        return _token_logits(model, batch)
    logits: torch.Tensor = model_to_call(model)(**batch.inputs).logits
    return logits.float()


def _is_causal(model: torch.nn.Module) -> bool:
    """Whether a model reads from left to right, so that the last token has read all others."""
    return hasattr(unwrapped_model(model), "score")


def _token_logits(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Logits from the state of one token of each sequence.

    For causal models transformers takes the last token that is not padding, which is another one
    if padding has the id of the token that ends a text.
    """
    inner = unwrapped_model(model)
    states = batch.gather(model_without_head(model)(**batch.inputs).last_hidden_state)
    if _is_causal(model):
        last = torch.cat([batch.starts[1:], batch.starts.new_tensor([len(states)])]) - 1
        return inner.score(states[last]).float()  # type: ignore[no-any-return]
    first = states[batch.starts][:, None]
    pooler = getattr(inner.base_model, "pooler", None)
    if pooler is not None:  # RoBERTa's head pools by itself
        first = inner.dropout(pooler(first))
    return inner.classifier(first).float()  # type: ignore[no-any-return]


def sequence_means(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Mean state of each sequence, [sequences, hidden], in float32."""
    states = batch.gather(model_without_head(model)(**batch.inputs).last_hidden_state)
    return mean_states(states.float(), batch.starts)


def logits_of_means(model: torch.nn.Module, means: torch.Tensor) -> torch.Tensor:
    """Logits from the mean of each sequence's states, [sequences, labels], in float32."""
    inner = unwrapped_model(model)
    dropped = getattr(inner, "dropout", torch.nn.Identity())(means)
    # Some heads are a linear layer, others take the first of several states.
    logits: torch.Tensor = inner.classifier(dropped[:, None].to(inner.dtype))
    return logits.view(len(means), -1).float()
