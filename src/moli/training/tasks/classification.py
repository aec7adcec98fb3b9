"""Texts and their classes: the classic recipe of IMDb and BERT (Devlin et al. 2018, sec. 4.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch

from moli.models.text import Cutter, folder_of
from moli.records.examples import Example, Labelled
from moli.training import methods
from moli.training.loop.batches import Batch
from moli.training.loop.samples import Sample
from moli.training.tasks.base.classes import ClassTask, number_of
from moli.training.tasks.base.pooling import mean_states, pooling_of
from moli.training.tasks.base.task import backbone, plain, whole
from moli.training.tasks.base.transformer import TransformerTask


class Classification(ClassTask, TransformerTask):
    """A class for each text.

    Classifies from what the base was trained to represent a text by: for a sentence encoder, the
    mean of the tokens' states (Reimers & Gurevych 2019); for others the first token's state, or the
    last one's for a causal model, with the model's own head.
    """

    state_fields: ClassVar[tuple[str, ...]] = ("labels", "pooling")
    accepts = (Labelled,)
    kind = "AutoModelForSequenceClassification"
    text_column = "text"

    @property
    def question_formats(self) -> Mapping[str, Mapping[str, Any]]:
        return {"labelled": {"label": self.labels[0]}}

    def samples(self, examples: Sequence[Example], *, training: bool) -> list[list[Sample]]:  # noqa: ARG002
        numbers = self.numbers
        labelled = [each for each in examples if isinstance(each, Labelled)]
        cut = Cutter(self.tokenizer, self.max_length).ids([each.text for each in labelled])
        return [
            [Sample((ids,), number_of(each.label, numbers), int(each.label in numbers), lost)]
            for each, (ids, lost) in zip(labelled, cut, strict=True)
        ]

    @cached_property
    def pooling(self) -> str:
        """ "mean", or "own" for the model's own way."""
        padded = self.recipe.method in methods.PADDED  # whose added tokens are no part of a text
        of_base = "" if padded else pooling_of(folder_of(self.recipe.base))
        return "mean" if of_base == "mean" else "own"

    @property
    def unlike(self) -> str:
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
        inner = plain(model)
        if self.pooling == "mean" and getattr(inner.base_model, "pooler", None) is not None:
            inner.base_model.pooler = None
            inner.new_modules = [each for each in inner.new_modules if "pooler" not in each]
        return model

    def forward(
        self, model: torch.nn.Module, samples: Sequence[Sample], *, packed: bool = False
    ) -> torch.Tensor:
        """Scores before the softmax, [samples, classes], in float32."""
        batch = self.collate([each.parts[0] for each in samples], model, packed=packed)
        if self.pooling == "mean":
            states = batch.gather(backbone(model)(**batch.inputs).last_hidden_state)
            logits = mean_head(plain(model), mean_states(states.float(), batch.starts))
        elif not batch.packed:
            logits = whole(model)(**batch.inputs).logits
        else:
            states = backbone(model)(**batch.inputs).last_hidden_state
            logits = head(plain(model), batch, states[0])
        return logits.float()


def mean_head(model: Any, means: torch.Tensor) -> torch.Tensor:
    """Scores of texts by the means of their states [texts, hidden]."""
    dropped = getattr(model, "dropout", torch.nn.Identity())(means)
    # Some heads are a linear layer, others take the first of several states.
    scores: torch.Tensor = model.classifier(dropped[:, None].to(model.dtype))
    return scores.view(len(means), -1)


def head(model: Any, batch: Batch, states: torch.Tensor) -> torch.Tensor:
    """What a model's own forward pass does after the transformer, for sequences end to end."""
    if hasattr(model, "score"):  # causal models: the last token has read all others
        ends = torch.cat([batch.starts[1:], batch.starts.new_tensor([len(states)])]) - 1
        return model.score(states[ends]).float()  # type: ignore[no-any-return]
    first = states[batch.starts][:, None]
    pooler = getattr(model.base_model, "pooler", None)
    if pooler is not None:  # RoBERTa's head pools by itself
        first = model.dropout(pooler(first))
    return model.classifier(first).float()  # type: ignore[no-any-return]
