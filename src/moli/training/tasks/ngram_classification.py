"""Text classification without a base model: logistic regression on TF-IDF vectors of n-grams."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch

from moli.models.weights.json_files import write_json
from moli.records.errors import InputError
from moli.records.examples import Example, Labelled
from moli.training.batching.samples import Sample
from moli.training.methods import method_of
from moli.training.tasks.base.labels import LabelTask, label_id
from moli.training.tasks.base.ngrams import MAX_WEIGHTS, NgramVocabulary

_WEIGHTS = "model.safetensors"


class NgramClassifier(torch.nn.Module):
    """A linear layer above the vectors of an `NgramVocabulary`."""

    def __init__(self, features: int, labels: Sequence[str]) -> None:
        super().__init__()
        self.labels = labels
        self.classifier = torch.nn.Linear(features, len(labels))

    def forward(self, vectors: torch.Tensor) -> torch.Tensor:
        """Logits before the softmax, [texts, labels], of sparse vectors."""
        return vectors @ self.classifier.weight.float().T + self.classifier.bias.float()

    def save_pretrained(self, folder: Path) -> None:
        """Write the weights, and a configuration that says what they are."""
        from safetensors.torch import save_file

        save_file(self.state_dict(), folder / _WEIGHTS)
        config = {"model_type": "moli-ngrams", "id2label": dict(enumerate(self.labels))}
        write_json(folder / "config.json", config)


class NgramClassification(LabelTask):
    """Classification of texts by their n-grams; a sample is their ids, its target the label's id.

    The classifier is fitted to its optimum before the first step, so no steps are needed.

    Attributes:
        ngrams, idf: the vocabulary of the training texts, as `NgramVocabulary` has it.
    """

    state_fields: ClassVar[tuple[str, ...]] = (*LabelTask.state_fields, "ngrams", "idf")
    example_types = (Labelled,)
    supports_packing = False
    text_column = "text"
    ngrams: list[str]
    idf: list[float]

    @property
    def prediction_formats(self) -> Mapping[str, Mapping[str, Any]]:
        """Rows to predict from may omit the label."""
        return {"labelled": {"label": self.labels[0]}}

    @property
    def export_caveat(self) -> str:
        """Other programs have no class for it."""
        return "it weighs a text's n-grams, which transformers has no class for"

    @cached_property
    def vocabulary(self) -> NgramVocabulary:
        """The vocabulary of the training texts."""
        return NgramVocabulary(tuple(self.ngrams), np.array(self.idf, np.float32))

    def prepare(self, examples: Sequence[Example]) -> None:
        """Collect the labels and the n-grams of the examples.

        Raises:
            InputError: there is one label only, or the recipe trains an adapter.
        """
        super().prepare(examples)
        if method_of(self.recipe).is_adapter:
            raise InputError(
                f"there is no base to put an adapter on for method '{self.recipe.method}'",
                where=self.recipe.base,
                fix="Use method: full, or name a model as base.",
            )
        texts = [example.text for example in examples if isinstance(example, Labelled)]
        vocabulary = NgramVocabulary.of(texts, MAX_WEIGHTS // len(self.labels))
        self.ngrams, self.idf = list(vocabulary.ngrams), vocabulary.idf.tolist()

    def samples(self, examples: Sequence[Example], *, training: bool) -> list[list[Sample]]:  # noqa: ARG002
        """One sample for each text."""
        ids = self.label_ids
        return [
            [
                Sample(
                    (self.vocabulary.ids_of(example.text),),
                    target=label_id(example.label, ids),
                    supervised=int(example.label in ids),
                )
            ]
            for example in examples
            if isinstance(example, Labelled)
        ]

    def build(self, dtype: torch.dtype) -> torch.nn.Module:  # noqa: ARG002
        """A classifier of the vocabulary's n-grams, in float32."""
        return NgramClassifier(len(self.ngrams), self.labels)

    def linear_head(self, model: torch.nn.Module) -> torch.nn.Linear | None:
        """The whole model."""
        head: torch.nn.Linear = model.classifier  # type: ignore[assignment]
        return head

    def head_inputs(self, model: torch.nn.Module, samples: Sequence[Sample]) -> torch.Tensor:
        """TF-IDF vectors, sparse."""
        vectors = self.vocabulary.vectors_of([each.sequences[0] for each in samples])
        head = self.linear_head(model)
        return vectors.to(head.weight.device) if head else vectors

    def restore(self, folder: Path, dtype: torch.dtype) -> torch.nn.Module:
        """The trained classifier."""
        from safetensors.torch import load_file

        self.load_state(folder)
        model = self.build(dtype)
        model.load_state_dict(load_file(folder / _WEIGHTS))
        return model

    def forward(
        self,
        model: torch.nn.Module,
        samples: Sequence[Sample],
        *,
        packed: bool = False,  # noqa: ARG002
    ) -> torch.Tensor:
        """Logits before the softmax, [samples, labels], in float32."""
        logits: torch.Tensor = model(self.head_inputs(model, samples))
        return logits
