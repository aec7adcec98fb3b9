"""Tasks whose answers are labels: one of several, or any number of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import Any, ClassVar

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from moli.metrics.calibration import expected_calibration_error, fit_temperature
from moli.metrics.classification import accuracy, macro_f1
from moli.records.errors import InputError
from moli.records.examples import Example
from moli.training.batching.samples import Sample
from moli.training.tasks.base.task import HeadRows, Task
from moli.workspace.datasets.labels import order_labels

_MIN_CALIBRATION_EXAMPLES = 20
_IGNORED = -100  # the id of a label that the training examples lack: it has no loss


class TaskWithLabels(Task):
    """A task whose answers are labels of the training examples.

    An answer is an array with the probability of each label.

    Attributes:
        labels: names of the labels; a label's id is its index. Labels that are numbers are in the
            order of the numbers, and so are classes that a data set numbers. Others are in
            alphabetical order.
        minimum_labels: number of labels without which there is nothing to choose from.
    """

    state_fields: ClassVar[tuple[str, ...]] = ("labels",)
    minimum_labels: ClassVar[int]
    is_calibrated = True
    labels: list[str]

    def prepare(self, examples: Sequence[Example]) -> None:
        """Collect the labels of the examples."""
        used = {label for example in examples for label in example.class_labels}
        numbered = {name: None for example in examples for name in getattr(example, "classes", ())}
        self.labels = list(numbered) if used <= numbered.keys() else order_labels(used)
        if len(used) < self.minimum_labels:
            one = f"every example has the label '{''.join(used)}'"
            raise InputError(
                one if used else "no example has a label",
                where=self.recipe.data_name,
                fix="Add examples of another class.",
            )

    @property
    def known_labels(self) -> Sequence[str]:
        """The labels that the model can give."""
        return self.labels

    @cached_property
    def label_ids(self) -> Mapping[str, int]:
        """Id of each label."""
        return {label: index for index, label in enumerate(self.labels)}

    @property
    def label_config(self) -> dict[str, Any]:
        """The label names and ids as entries of a model's configuration in transformers."""
        return {"id2label": dict(enumerate(self.labels)), "label2id": dict(self.label_ids)}

    def label_row(self, answer: Any, count: int) -> dict[str, Any]:
        """The decision as `to_row` has it, and the `count` likeliest labels with probabilities."""
        best = np.argsort(-np.asarray(answer), kind="stable")[:count].tolist()
        likeliest = [
            {"label": self.labels[index], "probability": float(answer[index])} for index in best
        ]
        return {**self.to_row(answer), "probabilities": likeliest}


class LabelTask(TaskWithLabels):
    """A task that chooses one of the labels.

    Attributes:
        temperature: number that logits are divided by (Guo et al. 2017), fitted to held-out
            examples after training; 1 until then.
    """

    metric = "accuracy"
    state_fields = (*TaskWithLabels.state_fields, "temperature")
    minimum_labels = 2
    temperature: float = 1.0

    def target_id(self, sample: Sample) -> int:
        """Id of a sample's label."""
        return int(sample.target)

    def head_rows(self, inputs: torch.Tensor, samples: Sequence[Sample]) -> HeadRows:
        """The vector of each sample, with the id of its label."""
        return HeadRows(inputs, torch.tensor([self.target_id(each) for each in samples]))

    def losses(self, outputs: torch.Tensor, samples: Sequence[Sample]) -> torch.Tensor:
        """Cross-entropy of each sample; 0 if training examples lack its label."""
        targets = torch.tensor([self.target_id(each) for each in samples], device=outputs.device)
        scaled = outputs / self.temperature
        return cross_entropy(scaled, targets, reduction="none", ignore_index=_IGNORED)

    def decode(self, outputs: torch.Tensor, samples: Sequence[Sample]) -> list[Any]:  # noqa: ARG002
        """For each sample the probabilities of the labels, [labels]."""
        return list(torch.softmax(outputs / self.temperature, -1).cpu().numpy())

    def metrics(self, answers: Sequence[Any], examples: Sequence[Example]) -> dict[str, float]:
        """Accuracy and macro-averaged F1 of the likeliest labels, and their calibration error."""
        predicted = [self.predicted_class(probabilities) for probabilities in answers]
        expected = _labels_of(examples)
        return {
            "accuracy": accuracy(expected, predicted),
            "macro_f1": macro_f1(expected, predicted),
            "calibration_error": expected_calibration_error(
                np.array([np.max(probabilities) for probabilities in answers], np.float64),
                np.array(expected) == np.array(predicted),
            ),
        }

    def calibrate(self, answers: Sequence[Any], examples: Sequence[Example]) -> None:
        """Set the temperature, unless there are too few examples; no likeliest label changes."""
        known = [
            (answer, self.label_ids[str(example.class_label)])
            for answer, example in zip(answers, examples, strict=True)
            if example.class_label in self.label_ids
        ]
        if len(known) >= _MIN_CALIBRATION_EXAMPLES:
            probabilities = np.array([answer for answer, _ in known], np.float64)
            targets = np.array([target for _, target in known])
            self.temperature = fit_temperature(np.log(np.maximum(probabilities, 1e-30)), targets)

    def predicted_class(self, answer: Any) -> str:
        """The likeliest label."""
        return self.labels[int(np.argmax(answer))]

    def to_row(self, answer: Any) -> dict[str, Any]:
        """The likeliest label, and its probability."""
        best = int(np.argmax(answer))
        return {"label": self.labels[best], "probability": float(answer[best])}


def label_id(label: str, ids: Mapping[str, int]) -> int:
    """Id of a label; for a label that training examples lack, the id that the loss ignores."""
    return ids.get(label, _IGNORED)


def _labels_of(examples: Sequence[Example]) -> list[str]:
    """The labels of the examples that have one."""
    return [example.class_label for example in examples if example.class_label is not None]
