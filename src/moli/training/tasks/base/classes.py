"""What tasks share whose answers are classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from moli.metrics.classification import accuracy, macro_f1
from moli.records.errors import InputError
from moli.records.examples import Example, Labelled, LabelledImage
from moli.training.batching.samples import Sample
from moli.training.tasks.base.task import Task

_UNKNOWN = -100  # a label that was not there in training: it has no loss


class ClassTask(Task):
    """One of the labels that the training examples have; an answer is their probabilities.

    Attributes:
        labels: in order of their names, which is that of their numbers.
    """

    metric = "accuracy"
    state_fields: ClassVar[tuple[str, ...]] = ("labels",)
    labels: list[str]

    def prepare(self, examples: Sequence[Example]) -> None:
        self.labels = sorted(set(_labels(examples)))
        if len(self.labels) < 2:
            raise InputError(
                f"every example has the label '{''.join(self.labels)}'",
                where=str(self.recipe.data),
                fix="Add examples of another class.",
            )

    @property
    def numbers(self) -> Mapping[str, int]:
        """Label to number."""
        return {label: number for number, label in enumerate(self.labels)}

    @property
    def names(self) -> dict[str, Any]:
        """The labels, as a model's configuration has them."""
        return {"id2label": dict(enumerate(self.labels)), "label2id": dict(self.numbers)}

    def target_of(self, sample: Sample) -> int:
        """The number of a sample's class."""
        return int(sample.target)

    def losses(self, outputs: torch.Tensor, samples: Sequence[Sample]) -> torch.Tensor:
        wanted = torch.tensor([self.target_of(each) for each in samples], device=outputs.device)
        return cross_entropy(outputs, wanted, reduction="none", ignore_index=_UNKNOWN)

    def decode(self, outputs: torch.Tensor, samples: Sequence[Sample]) -> list[Any]:  # noqa: ARG002
        return list(torch.softmax(outputs, -1).cpu().numpy())

    def metrics(self, answers: Sequence[Any], examples: Sequence[Example]) -> dict[str, float]:
        said = [self.labels[int(np.argmax(each))] for each in answers]
        wanted = _labels(examples)
        return {"accuracy": accuracy(wanted, said), "macro_f1": macro_f1(wanted, said)}

    def to_row(self, answer: Any) -> dict[str, Any]:
        best = int(np.argmax(answer))
        return {"label": self.labels[best], "probability": float(answer[best])}


def number_of(label: str, numbers: Mapping[str, int]) -> int:
    """The number of a label; of one that is not known, a number that has no loss."""
    return numbers.get(label, _UNKNOWN)


def _labels(examples: Sequence[Example]) -> list[str]:
    return [each.label for each in examples if isinstance(each, Labelled | LabelledImage)]
