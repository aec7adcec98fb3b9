"""The model of tasks that classify texts: a head above a transformer's states."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch

from moli.models.weights.truncation import Truncator
from moli.records.examples import Example
from moli.training.batching.batches import Batch
from moli.training.batching.samples import Sample, Tokens
from moli.training.tasks.base.labels import TaskWithLabels
from moli.training.tasks.base.pooled import PooledTask
from moli.training.tasks.base.sequence_logits import sequence_logits


class TextClassifier(TaskWithLabels, PooledTask):
    """Classification of texts; a sample is a text with its target."""

    state_fields: ClassVar[tuple[str, ...]] = (
        *TaskWithLabels.state_fields,
        *PooledTask.state_fields,
    )
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

    def build(self, dtype: torch.dtype) -> torch.nn.Module:
        """The base model with a head for the labels."""
        return self.build_with_head(dtype, **self.label_config)

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
        inputs = self.token_inputs(samples)
        return self.collate(sequences, model, packed=packed, token_inputs=inputs)

    def token_inputs(self, samples: Sequence[Sample]) -> Mapping[str, Sequence[Tokens]]:  # noqa: ARG002
        """Inputs with a number for each token, besides the token ids; none for single texts."""
        return {}
