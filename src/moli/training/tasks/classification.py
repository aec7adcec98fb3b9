"""Texts and their classes: the classic recipe of IMDb and BERT (Devlin et al. 2018, sec. 4.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch

from moli.models.weights.loading import folder_of
from moli.models.weights.truncation import Truncator
from moli.records.examples import Example, Labelled
from moli.training.batching.samples import Sample
from moli.training.recipes.method_table import METHODS
from moli.training.tasks.base.classes import ClassTask, number_of
from moli.training.tasks.base.pooling import pooling_of
from moli.training.tasks.base.sequences import mean_sequence_logits, sequence_logits
from moli.training.tasks.base.transformer import TransformerTask
from moli.training.tasks.base.wrapped_models import unwrapped_model


class Classification(ClassTask, TransformerTask):
    """A class for each text.

    Classifies from what the base was trained to represent a text by: for a sentence encoder, the
    mean of the tokens' states (Reimers & Gurevych 2019); for others the first token's state, or the
    last one's for a causal model, with the model's own head.
    """

    state_fields: ClassVar[tuple[str, ...]] = ("labels", "pooling")
    example_types = (Labelled,)
    kind = "AutoModelForSequenceClassification"
    text_column = "text"

    @property
    def prediction_formats(self) -> Mapping[str, Mapping[str, Any]]:
        return {"labelled": {"label": self.labels[0]}}

    def samples(self, examples: Sequence[Example], *, training: bool) -> list[list[Sample]]:  # noqa: ARG002
        numbers = self.numbers
        labelled = [each for each in examples if isinstance(each, Labelled)]
        cut = Truncator(self.tokenizer, self.max_length).truncate([each.text for each in labelled])
        return [
            [Sample((ids,), number_of(each.label, numbers), int(each.label in numbers), lost)]
            for each, (ids, lost) in zip(labelled, cut, strict=True)
        ]

    @cached_property
    def pooling(self) -> str:
        """ "mean", or "own" for the model's own way."""
        method = METHODS[self.recipe.method or "full"]
        # Virtual tokens are no part of a text, so no mean may include them.
        of_base = "" if method.adds_virtual_tokens else pooling_of(folder_of(self.recipe.base))
        return "mean" if of_base == "mean" else "own"

    @property
    def export_caveat(self) -> str:
        if self.pooling == "own":
            return ""
        return "it classifies from the mean of a text's states, which transformers has no class for"

    def build(self, dtype: torch.dtype) -> torch.nn.Module:
        return self._headed(self.pretrained(dtype, **self.names))

    def load_state(self, folder: Path) -> None:
        self.pooling = "own"
        super().load_state(folder)

    def restore(self, folder: Path, dtype: torch.dtype) -> torch.nn.Module:
        return self._headed(super().restore(folder, dtype))

    def _headed(self, model: torch.nn.Module) -> torch.nn.Module:
        """The model without the layer for its first token, where that is not used."""
        inner = unwrapped_model(model)
        if self.pooling == "mean" and getattr(inner.base_model, "pooler", None) is not None:
            inner.base_model.pooler = None
            inner.new_modules = [each for each in inner.new_modules if "pooler" not in each]
        return model

    def forward(
        self, model: torch.nn.Module, samples: Sequence[Sample], *, packed: bool = False
    ) -> torch.Tensor:
        """Scores before the softmax, [samples, classes], in float32."""
        batch = self.collate([each.sequences[0] for each in samples], model, packed=packed)
        if self.pooling == "mean":
            return mean_sequence_logits(model, batch)
        return sequence_logits(model, batch)
