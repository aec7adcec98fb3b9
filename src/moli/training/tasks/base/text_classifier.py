"""The model of tasks that classify texts: a head above a transformer's states."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch

from moli.models.weights.loading import folder_of
from moli.models.weights.truncation import Truncator
from moli.records.examples import Example
from moli.training.batching.batches import Batch
from moli.training.batching.samples import Sample, Tokens
from moli.training.methods import method_of
from moli.training.tasks.base.labels import TaskWithLabels
from moli.training.tasks.base.pooling import pooling_of
from moli.training.tasks.base.sequence_logits import sequence_logits
from moli.training.tasks.base.transformer import TransformerTask
from moli.training.tasks.base.wrapped_models import unwrapped_model


class TextClassifier(TaskWithLabels, TransformerTask):
    """Classification of texts; a sample is a text with its target.

    The head reads the vector by which the base was trained to represent a text: the mean of the
    tokens' states for a sentence encoder (Reimers & Gurevych 2019), otherwise the first token's
    state, or the last one's for a causal model.
    """

    state_fields: ClassVar[tuple[str, ...]] = (*TaskWithLabels.state_fields, "pooling")
    auto_class = "AutoModelForSequenceClassification"
    text_column = "text"

    def samples(self, examples: Sequence[Example], *, training: bool) -> list[list[Sample]]:  # noqa: ARG002
        """One sample for each text."""
        truncator = Truncator(self.tokenizer, self.max_length)
        texts = truncator.truncate([example.model_input for example in examples])
        return [
            [
                Sample(
                    (text.ids,),
                    target=self.target(example),
                    supervised=self.is_supervised(example),
                    truncated_tokens=text.dropped,
                )
            ]
            for example, text in zip(examples, texts, strict=True)
        ]

    @abstractmethod
    def target(self, example: Example) -> Any:
        """The target of an example's sample."""

    def is_supervised(self, example: Example) -> bool:  # noqa: ARG002
        """Whether an example has a loss, as all have unless a task says other."""
        return True

    @cached_property
    def pooling(self) -> str:
        """ "mean" if the head reads the mean of the states; "own" if the model's class in
        transformers pools them in its own way."""
        # Virtual tokens are no part of a text, so no mean may include them.
        if method_of(self.recipe).adds_virtual_tokens:
            return "own"
        return "mean" if pooling_of(folder_of(self.recipe.base)) == "mean" else "own"

    @property
    def export_caveat(self) -> str:
        """Why other programs would answer differently; "" if the head reads the usual vector."""
        if self.pooling == "own":
            return ""
        return "it classifies from the mean of a text's states, which transformers has no class for"

    def build(self, dtype: torch.dtype) -> torch.nn.Module:
        """The base model with a head for the labels."""
        return self._without_unused_pooler(self.load_base(dtype, **self.label_config))

    def load_state(self, folder: Path) -> None:
        """Set the labels and the pooling from the saved state."""
        self.pooling = "own"  # unless the state says otherwise
        super().load_state(folder)

    def restore(self, folder: Path, dtype: torch.dtype) -> torch.nn.Module:
        """The trained model."""
        return self._without_unused_pooler(super().restore(folder, dtype))

    def _without_unused_pooler(self, model: torch.nn.Module) -> torch.nn.Module:
        """The model without BERT's layer for the first token if the mean is classified instead."""
        inner = unwrapped_model(model)
        if self.pooling == "mean" and getattr(inner.base_model, "pooler", None) is not None:
            inner.base_model.pooler = None
            inner.new_modules = [name for name in inner.new_modules if "pooler" not in name]
        return model

    def forward(
        self, model: torch.nn.Module, samples: Sequence[Sample], *, packed: bool = False
    ) -> torch.Tensor:
        """Logits before the softmax, [samples, labels], in float32."""
        batch = self.collate_samples(samples, model, packed=packed)
        return sequence_logits(model, batch, mean=self.pooling == "mean")

    def collate_samples(
        self, samples: Sequence[Sample], model: torch.nn.Module, *, packed: bool
    ) -> Batch:
        """A batch of the samples' sequences."""
        sequences = [each.sequences[0] for each in samples]
        return self.collate(sequences, model, packed=packed, **self.token_inputs(samples))

    def token_inputs(self, samples: Sequence[Sample]) -> Mapping[str, Sequence[Tokens]]:  # noqa: ARG002
        """Inputs with a number for each token, besides the token ids; none for single texts."""
        return {}
