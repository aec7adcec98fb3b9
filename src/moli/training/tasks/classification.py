"""Texts and their classes: the classic recipe of IMDb and BERT (Devlin et al. 2018, sec. 4.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from moli.metrics.classification import accuracy, macro_f1
from moli.models.text import Cutter
from moli.records.errors import InputError
from moli.records.examples import Example, Labelled
from moli.training.batches import Laid
from moli.training.samples import Sample
from moli.training.tasks.task import backbone, plain, whole
from moli.training.tasks.transformer import Transformer

UNKNOWN = -100  # a label that was not there in training: it has no loss


class Classification(Transformer):
    """A class for each text, from the state of its first token (or last, for a causal model)."""

    accepts = (Labelled,)
    metric = "accuracy"
    kind = "AutoModelForSequenceClassification"
    learns = ("labels",)
    text_column = "text"
    labels: list[str]

    @property
    def asked(self) -> Mapping[str, Mapping[str, Any]]:  # type: ignore[override]
        return {"labelled": {"label": self.labels[0]}}

    def prepare(self, examples: Sequence[Example]) -> None:
        self.labels = sorted({each.label for each in examples if isinstance(each, Labelled)})
        if len(self.labels) < 2:
            raise InputError(
                f"every example has the label '{''.join(self.labels)}'",
                where=str(self.recipe.data),
                fix="Add examples of another class.",
            )

    def samples(self, examples: Sequence[Example], *, training: bool) -> list[list[Sample]]:  # noqa: ARG002
        number = {label: each for each, label in enumerate(self.labels)}
        labelled = [each for each in examples if isinstance(each, Labelled)]
        cut = Cutter(self.tokenizer, self.max_length).ids([each.text for each in labelled])
        return [
            [Sample((ids,), number.get(each.label, UNKNOWN), 1, lost)]
            for each, (ids, lost) in zip(labelled, cut, strict=True)
        ]

    def build(self, dtype: torch.dtype) -> torch.nn.Module:
        names = dict(enumerate(self.labels))
        return self.pretrained(
            dtype, id2label=names, label2id={name: number for number, name in names.items()}
        )

    def restore(self, folder: Path, dtype: torch.dtype) -> torch.nn.Module:
        return self.restored(folder, dtype)

    def forward(self, model: torch.nn.Module, samples: Sequence[Sample]) -> torch.Tensor:
        """Scores before the softmax, [samples, classes], in float32."""
        laid = self.lay([each.parts[0] for each in samples], model)
        if not laid.packed:
            logits: torch.Tensor = whole(model)(**laid.inputs).logits
        else:
            states = backbone(model)(**laid.inputs).last_hidden_state
            logits = head(plain(model), laid, states[0])
        return logits.float()

    def losses(self, outputs: torch.Tensor, samples: Sequence[Sample]) -> torch.Tensor:
        wanted = torch.tensor([each.target for each in samples], device=outputs.device)
        return cross_entropy(outputs, wanted, reduction="none", ignore_index=UNKNOWN)

    def read(self, outputs: torch.Tensor, samples: Sequence[Sample]) -> list[Any]:  # noqa: ARG002
        """Probabilities of the classes."""
        return list(torch.softmax(outputs, -1).cpu().numpy())

    def judge(self, answers: Sequence[Any], examples: Sequence[Example]) -> dict[str, float]:
        said = [self.labels[int(np.argmax(each))] for each in answers]
        wanted = [each.label for each in examples if isinstance(each, Labelled)]
        return {"accuracy": accuracy(wanted, said), "macro_f1": macro_f1(wanted, said)}

    def told(self, answer: Any) -> dict[str, Any]:
        best = int(np.argmax(answer))
        return {"label": self.labels[best], "probability": float(answer[best])}


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
