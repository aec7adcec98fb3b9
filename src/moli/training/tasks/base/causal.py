"""The loss of a causal language model: the surprise at each token to be learnt."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy

from moli.models.weights.loading import is_decoder, load_config
from moli.records.errors import InputError
from moli.records.examples import Example
from moli.training.batching.batches import Batch
from moli.training.batching.samples import Sample
from moli.training.kernels.losses import token_cross_entropy
from moli.training.tasks.base.transformer import TransformerTask
from moli.training.tasks.base.wrapped_models import (
    model_to_call,
    model_without_head,
    unwrapped_model,
)


@dataclass(slots=True)
class Predicted:
    """States before the head of the supervised positions, [items, width], and what goes with them.

    Only these reach the head, whose product with the vocabulary is most of a small model's work.

    Attributes:
        head: states to logits [items, vocabulary].
        wanted, owner: the token that follows each item, and the sample it belongs to, [items].
        losses: by item, once they are known.
    """

    states: torch.Tensor
    head: Callable[[torch.Tensor], torch.Tensor]
    wanted: torch.Tensor
    owner: torch.Tensor
    losses: torch.Tensor | None = None


class CausalTask(TransformerTask):
    """A decoder; a sample's target marks which of its tokens are to be learnt."""

    kind = "AutoModelForCausalLM"
    supervised_unit = "tokens"

    def prepare(self, examples: Sequence[Example]) -> None:  # noqa: ARG002
        config = None if self.from_scratch else load_config(self.recipe.base)
        if config and not is_decoder(config):
            raise InputError(
                "this is an encoder (bidirectional), not a causal language model",
                where=self.recipe.base,
                fix="Name a language model as base, or base: new with task: pretraining.",
            )

    def build(self, dtype: torch.dtype) -> torch.nn.Module:
        return mark_head_alone(super().build(dtype))

    def restore(self, folder: Path, dtype: torch.dtype) -> torch.nn.Module:
        return mark_head_alone(super().restore(folder, dtype))

    @abstractmethod
    def prompt_tokens(self, example: Example) -> list[int]:
        """An example's tokens before its last answer, or before its text is continued."""

    def supervised_tokens(self, sample: Sample) -> list[NDArray[np.bool_]]:
        learnt = np.array(sample.target)
        learnt[:1] = False  # nothing predicts a sample's first token
        return [learnt]

    def forward(
        self, model: torch.nn.Module, samples: Sequence[Sample], *, packed: bool = False
    ) -> Predicted:
        batch = self.collate([each.sequences[0] for each in samples], model, packed=packed)
        ids = np.concatenate([each.sequences[0] for each in samples])
        # A token is predicted at the place before it; a sample's first token by nothing.
        learnt = np.concatenate([each.target for each in samples])
        learnt[np.cumsum([0] + [len(each.target) for each in samples[:-1]])] = False
        at = np.flatnonzero(learnt) - 1
        owner = np.repeat(np.arange(len(samples)), [len(each.target) for each in samples])
        device = batch.tokens.device
        wanted = torch.as_tensor(ids[at + 1].astype(np.int64), device=device)
        positions = torch.as_tensor(at, device=device)
        states, head = self._states(model, batch, positions)
        return Predicted(states, head, wanted, torch.as_tensor(owner[at + 1], device=device))

    def _states(
        self, model: torch.nn.Module, batch: Batch, positions: torch.Tensor
    ) -> tuple[torch.Tensor, Callable[[torch.Tensor], torch.Tensor]]:
        inner: Any = unwrapped_model(model)
        wrapped = model_to_call(model) is not inner
        if inner.head_alone and not wrapped:
            states = model_without_head(model)(**batch.inputs, use_cache=False).last_hidden_state
            return batch.gather(states)[positions], inner.get_output_embeddings()
        return _logits(model, batch, positions), _same

    def losses(self, outputs: Predicted, samples: Sequence[Sample]) -> torch.Tensor:
        if outputs.losses is None:
            outputs.losses = _by_item(outputs)
        total = outputs.losses.new_zeros(len(samples))
        return total.index_add(0, outputs.owner, outputs.losses)

    def decode(self, outputs: Predicted, samples: Sequence[Sample]) -> list[Any]:
        """Nats of each sample, and over how many tokens."""
        nats = self.losses(outputs, samples).tolist()
        return [np.array(pair) for pair in zip(nats, (s.supervised for s in samples), strict=True)]

    def aggregate(self, answers: Sequence[Any], example: Any) -> Any:  # noqa: ARG002
        return np.sum(answers, axis=0)


def mark_head_alone(model: torch.nn.Module) -> torch.nn.Module:
    """The model, with a note, `head_alone`, of whether its head alone makes logits of its states.

    Some models scale, cap or transform them besides. It is tried on a few tokens.
    """
    inner: Any = unwrapped_model(model)
    if hasattr(inner, "head_alone"):  # tried before an adapter was put on it
        return model
    training = inner.training
    inner.eval()
    try:
        with torch.no_grad():
            ids = torch.arange(4, device=inner.device)[None]
            own = inner(input_ids=ids, use_cache=False).logits
            states = inner.base_model(input_ids=ids, use_cache=False).last_hidden_state
            found = inner.get_output_embeddings()(states)
            inner.head_alone = bool(torch.allclose(found, own, 1e-3, float(own.abs().max()) * 1e-3))
    except (AttributeError, TypeError, ValueError, RuntimeError):  # it is made in another way
        inner.head_alone = False
    finally:
        inner.train(training)
    return model


def _logits(model: torch.nn.Module, batch: Batch, positions: torch.Tensor) -> torch.Tensor:
    """Logits [positions, vocabulary] of the whole model, whose head is given those positions."""
    inner: Any = unwrapped_model(model)

    def select(_head: Any, given: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        return (batch.gather(given[0])[positions][None],)

    hook = inner.get_output_embeddings().register_forward_pre_hook(select)
    try:
        logits: torch.Tensor = model_to_call(model)(**batch.inputs, use_cache=False).logits
    finally:
        hook.remove()
    return logits[0]


def _same(logits: torch.Tensor) -> torch.Tensor:
    return logits


def _by_item(outputs: Predicted) -> torch.Tensor:
    """Cross-entropy of each item, in float32."""
    head, states = outputs.head, outputs.states
    if type(head) is torch.nn.Linear and head.bias is None and head.weight.dtype == states.dtype:
        return token_cross_entropy(states, head.weight, outputs.wanted)
    return cross_entropy(head(states).float(), outputs.wanted, reduction="none")
