"""Scores of whole sequences, by the head that transformers has for them."""

from __future__ import annotations

import torch

from moli.training.batching.batches import Batch
from moli.training.tasks.base.pooling import mean_states
from moli.training.tasks.base.wrapped_models import (
    model_to_call,
    model_without_head,
    unwrapped_model,
)


def sequence_logits(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Each sequence's scores before the softmax, [sequences, labels], in float32."""
    if not batch.packed:
        logits: torch.Tensor = model_to_call(model)(**batch.inputs).logits
        return logits.float()
    inner, states = (
        unwrapped_model(model),
        model_without_head(model)(**batch.inputs).last_hidden_state[0],
    )
    if hasattr(inner, "score"):  # causal models: the last token has read all others
        ends = torch.cat([batch.starts[1:], batch.starts.new_tensor([len(states)])]) - 1
        return inner.score(states[ends]).float()  # type: ignore[no-any-return]
    first = states[batch.starts][:, None]
    pooler = getattr(inner.base_model, "pooler", None)
    if pooler is not None:  # RoBERTa's head pools by itself
        first = inner.dropout(pooler(first))
    return inner.classifier(first).float()  # type: ignore[no-any-return]


def mean_sequence_logits(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """The same from the mean of each sequence's states, in place of one token's."""
    inner = unwrapped_model(model)
    states = batch.gather(model_without_head(model)(**batch.inputs).last_hidden_state)
    means = mean_states(states.float(), batch.starts)
    dropped = getattr(inner, "dropout", torch.nn.Identity())(means)
    # Some heads are a linear layer, others take the first of several states.
    logits: torch.Tensor = inner.classifier(dropped[:, None].to(inner.dtype))
    return logits.view(len(means), -1).float()
