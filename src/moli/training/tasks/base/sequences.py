"""Scores of whole sequences, by the head that transformers has for them."""

from __future__ import annotations

import torch

from moli.training.batching.batches import Batch
from moli.training.tasks.base.pooling import mean_states
from moli.training.tasks.base.task import backbone, plain, whole


def sequence_logits(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """Each sequence's scores before the softmax, [sequences, labels], in float32."""
    if not batch.packed:
        logits: torch.Tensor = whole(model)(**batch.inputs).logits
        return logits.float()
    inner, states = plain(model), backbone(model)(**batch.inputs).last_hidden_state[0]
    if hasattr(inner, "score"):  # causal models: the last token has read all others
        ends = torch.cat([batch.starts[1:], batch.starts.new_tensor([len(states)])]) - 1
        return inner.score(states[ends]).float()  # type: ignore[no-any-return]
    first = states[batch.starts][:, None]
    pooler = getattr(inner.base_model, "pooler", None)
    if pooler is not None:  # RoBERTa's head pools by itself
        first = inner.dropout(pooler(first))
    return inner.classifier(first).float()  # type: ignore[no-any-return]


def sequence_logits_of_mean(model: torch.nn.Module, batch: Batch) -> torch.Tensor:
    """The same from the mean of each sequence's states, in place of one token's."""
    inner = plain(model)
    states = batch.gather(backbone(model)(**batch.inputs).last_hidden_state)
    means = mean_states(states.float(), batch.starts)
    dropped = getattr(inner, "dropout", torch.nn.Identity())(means)
    # Some heads are a linear layer, others take the first of several states.
    logits: torch.Tensor = inner.classifier(dropped[:, None].to(inner.dtype))
    return logits.view(len(means), -1).float()
