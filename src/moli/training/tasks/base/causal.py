"""Causal language models: their loss is the cross-entropy of each supervised token."""

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

Head = Callable[[torch.Tensor], torch.Tensor]


@dataclass(slots=True)
class TokenPredictions:
    """Predictions of the supervised tokens of a batch, before the head.

    Only their states reach the head, whose product with the vocabulary is most of a small model's
    work.

    Attributes:
        states: [tokens, hidden], or logits if the model cannot be called without its head.
        head: function from states to logits [tokens, vocabulary].
        targets: ids of the supervised tokens, [tokens].
        sequence_indices: index of the sequence that each token belongs to, among those of all
            samples, [tokens].
        token_losses: loss of each token; None until it has been computed.
    """

    states: torch.Tensor
    head: Head
    targets: torch.Tensor
    sequence_indices: torch.Tensor
    token_losses: torch.Tensor | None = None


class CausalTask(TransformerTask):
    """A task on a decoder; a sample's target is the mask of its supervised tokens."""

    auto_class = "AutoModelForCausalLM"
    supervised_unit = "tokens"

    def prepare(self, examples: Sequence[Example]) -> None:  # noqa: ARG002
        """Check that the base is a decoder."""
        config = None if self.from_scratch else load_config(self.recipe.base)
        if config and not is_decoder(config):
            raise InputError(
                "this is an encoder (bidirectional), not a causal language model",
                where=self.recipe.base,
                fix="Name a language model as base, or base: new with task: pretraining.",
            )

    def build(self, dtype: torch.dtype) -> torch.nn.Module:
        """The base model; `mark_head` has looked at its head."""
        return mark_head(super().build(dtype))

    def restore(self, folder: Path, dtype: torch.dtype) -> torch.nn.Module:
        """The trained model; `mark_head` has looked at its head."""
        return mark_head(super().restore(folder, dtype))

    @abstractmethod
    def prompt_tokens(self, example: Example) -> list[int]:
        """Tokens of an example up to the answer or the text that the model is to generate."""

    def supervised_tokens(self, sample: Sample) -> list[NDArray[np.bool_]]:
        """The mask in the sample's target, false for its first token, which nothing predicts."""
        supervised = np.array(sample.target)
        supervised[:1] = False  # nothing predicts a sample's first token
        return [supervised]

    def forward(
        self, model: torch.nn.Module, samples: Sequence[Sample], *, packed: bool = False
    ) -> TokenPredictions:
        """Predictions of the supervised tokens of all samples."""
        sequences = [each for sample in samples for each in sample.sequences]
        batch = self.collate(
            sequences, model, packed=packed, continues=continued_sequences(samples)
        )
        supervised = np.concatenate(
            [mask for sample in samples for mask in self.supervised_tokens(sample)]
        )
        sequence_indices = np.repeat(np.arange(len(sequences)), list(map(len, sequences)))
        indices = np.flatnonzero(supervised)
        ids = np.concatenate(sequences)[indices].astype(np.int64)
        device = batch.token_indices.device
        # A token is predicted from the state at the one before it.
        before = batch.previous[torch.as_tensor(indices, device=device)]
        states, head = states_and_head(model, batch, before)
        return TokenPredictions(
            states,
            head,
            torch.as_tensor(ids, device=device),
            torch.as_tensor(sequence_indices[indices], device=device),
        )

    def losses(self, outputs: TokenPredictions, samples: Sequence[Sample]) -> torch.Tensor:
        """Cross-entropy of each sample, summed over its supervised tokens."""
        return self.sequence_losses(outputs, len(samples))

    def sequence_losses(self, outputs: TokenPredictions, sequences: int) -> torch.Tensor:
        """Cross-entropy of each sequence, summed over its supervised tokens: [sequences]."""
        if outputs.token_losses is None:
            outputs.token_losses = _token_losses(outputs)
        total = outputs.token_losses.new_zeros(sequences)
        return total.index_add(0, outputs.sequence_indices, outputs.token_losses)

    def decode(self, outputs: TokenPredictions, samples: Sequence[Sample]) -> list[Any]:
        """For each sample an array of its loss in nats and the number of its supervised tokens."""
        nats = self.losses(outputs, samples).tolist()
        return [np.array(pair) for pair in zip(nats, (s.supervised for s in samples), strict=True)]

    def aggregate(self, answers: Sequence[Any], example: Any) -> Any:  # noqa: ARG002
        """Sums of the answers for an example's samples, such as loss and number of tokens."""
        return np.sum(answers, axis=0)


def states_and_head(
    model: torch.nn.Module, batch: Batch, indices: torch.Tensor
) -> tuple[torch.Tensor, Head]:
    """States of the tokens at some indices, and the function that turns states into logits."""
    inner: Any = unwrapped_model(model)
    is_wrapped = model_to_call(model) is not inner
    if inner.head_makes_logits and not is_wrapped:
        states = model_without_head(model)(**batch.inputs, use_cache=False).last_hidden_state
        return batch.gather(states)[indices], inner.get_output_embeddings()
    return _logits(model, batch, indices), _identity


def continued_sequences(samples: Sequence[Sample]) -> list[int]:
    """For each sequence of samples, the index among all of the one that it continues, or -1."""
    continues: list[int] = []
    for sample in samples:
        first = len(continues)
        own = sample.continues or (-1,) * len(sample.sequences)
        continues += [first + index if index >= 0 else -1 for index in own]
    return continues


def mark_head(model: torch.nn.Module) -> torch.nn.Module:
    """Set the model's attribute `head_makes_logits`, and return the model.

    It says whether the logits are the output of the head alone: some models scale, cap or transform
    them afterwards. This is found out by running the model on a few tokens.
    """
    inner: Any = unwrapped_model(model)
    if hasattr(inner, "head_makes_logits"):  # tried before an adapter was put on it
        return model
    training = inner.training
    inner.eval()
    try:
        with torch.no_grad():
            ids = torch.arange(4, device=inner.device)[None]
            expected = inner(input_ids=ids, use_cache=False).logits
            states = inner.base_model(input_ids=ids, use_cache=False).last_hidden_state
            logits = inner.get_output_embeddings()(states)
            tolerance = float(expected.abs().max()) * 1e-3
            inner.head_makes_logits = bool(torch.allclose(logits, expected, 1e-3, tolerance))
    except (AttributeError, TypeError, ValueError, RuntimeError):  # it has another structure
        inner.head_makes_logits = False
    finally:
        inner.train(training)
    return model


def _logits(model: torch.nn.Module, batch: Batch, indices: torch.Tensor) -> torch.Tensor:
    """Logits [indices, vocabulary] from the whole model, whose head reads only these tokens."""
    inner: Any = unwrapped_model(model)

    def select(_head: Any, inputs: tuple[torch.Tensor]) -> tuple[torch.Tensor]:
        return (batch.gather(inputs[0])[indices][None],)

    hook = inner.get_output_embeddings().register_forward_pre_hook(select)
    try:
        logits: torch.Tensor = model_to_call(model)(**batch.inputs, use_cache=False).logits
    finally:
        hook.remove()
    return logits[0]


def _identity(logits: torch.Tensor) -> torch.Tensor:
    """The logits themselves: the head of outputs that are logits already."""
    return logits


def _token_losses(outputs: TokenPredictions) -> torch.Tensor:
    """Cross-entropy of each token, in float32."""
    head, states = outputs.head, outputs.states
    if (weight := product_weight(head, states)) is not None:
        return token_cross_entropy(states, weight, outputs.targets)
    return cross_entropy(head(states).float(), outputs.targets, reduction="none")


def product_weight(head: Head, states: torch.Tensor) -> torch.Tensor | None:
    """The weight of a head that is nothing but a product with it, in the states' type."""
    if not isinstance(head, torch.nn.Linear) or type(head) is not torch.nn.Linear:
        return None
    is_product = head.bias is None and head.weight.dtype == states.dtype
    return head.weight if is_product else None
