"""Texts and their classes: the classic recipe of IMDb and BERT (Devlin et al. 2018, sec. 4.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from moli.models.text import Cutter
from moli.records.examples import Example, Labelled
from moli.training.batches import Laid
from moli.training.samples import Sample
from moli.training.tasks.classes import Classes, number_of
from moli.training.tasks.task import backbone, plain, whole
from moli.training.tasks.transformer import Transformer


class Classification(Classes, Transformer):
    """A class for each text, from the state of its first token (or last, for a causal model)."""

    accepts = (Labelled,)
    kind = "AutoModelForSequenceClassification"
    text_column = "text"

    @property
    def asked(self) -> Mapping[str, Mapping[str, Any]]:  # type: ignore[override]
        return {"labelled": {"label": self.labels[0]}}

    def samples(self, examples: Sequence[Example], *, training: bool) -> list[list[Sample]]:  # noqa: ARG002
        numbers = self.numbers
        labelled = [each for each in examples if isinstance(each, Labelled)]
        cut = Cutter(self.tokenizer, self.max_length).ids([each.text for each in labelled])
        return [
            [Sample((ids,), number_of(each.label, numbers), 1, lost)]
            for each, (ids, lost) in zip(labelled, cut, strict=True)
        ]

    def build(self, dtype: torch.dtype) -> torch.nn.Module:
        return self.pretrained(dtype, **self.names)

    def forward(self, model: torch.nn.Module, samples: Sequence[Sample]) -> torch.Tensor:
        """Scores before the softmax, [samples, classes], in float32."""
        laid = self.lay([each.parts[0] for each in samples], model)
        if not laid.packed:
            logits: torch.Tensor = whole(model)(**laid.inputs).logits
        else:
            states = backbone(model)(**laid.inputs).last_hidden_state
            logits = head(plain(model), laid, states[0])
        return logits.float()


def head(model: Any, laid: Laid, states: torch.Tensor) -> torch.Tensor:
    """What a model's own forward pass does after the transformer, for sequences end to end."""
    if hasattr(model, "score"):  # causal models: the last token has read all others
        ends = torch.cat([laid.starts[1:], laid.starts.new_tensor([len(states)])]) - 1
        return model.score(states[ends]).float()  # type: ignore[no-any-return]
    first = states[laid.starts][:, None]
    pooler = getattr(model.base_model, "pooler", None)
    if pooler is not None:  # RoBERTa's head pools by itself
        first = model.dropout(pooler(first))
    return model.classifier(first).float()  # type: ignore[no-any-return]
