"""Classification of texts that may belong to several classes at once, or to none.

The labels are independent decisions, each with a probability of its own: the loss is the binary
cross-entropy, and a label applies if its probability reaches its threshold.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import binary_cross_entropy_with_logits

from moli.metrics.classification import ClassificationReport
from moli.metrics.multi_label import (
    best_threshold,
    macro_f1,
    micro_f1,
    multi_label_report,
    subset_accuracy,
)
from moli.records.examples import Example, MultiLabelled
from moli.training.batching.samples import Sample
from moli.training.tasks.base.text_classifier import TextClassifier

_THRESHOLD = 0.5
_MIN_EXAMPLES = 5  # with and without a label, from which its threshold is chosen


class MultiLabelClassification(TextClassifier):
    """Classification with several labels; a sample is a text, and its target 0 or 1 per label.

    An answer is an array with the probability of each label.

    Attributes:
        thresholds: for each label the probability from which on it applies.
    """

    example_types = (MultiLabelled,)
    state_fields = (*TextClassifier.state_fields, "thresholds")
    metric = "micro_f1"
    selection_metric = "loss"  # at first no label reaches its threshold, and F1 is 0
    minimum_labels = 1
    thresholds: list[float]

    @property
    def prediction_formats(self) -> Mapping[str, Mapping[str, Any]]:
        """Rows to predict from may omit the labels."""
        return {"multi_labelled": {"labels": []}}

    @property
    def label_config(self) -> dict[str, Any]:
        """The labels, and the kind of problem, by which transformers chooses the loss."""
        return {**super().label_config, "problem_type": "multi_label_classification"}

    def prepare(self, examples: Sequence[Example]) -> None:
        """Collect the labels of the examples."""
        super().prepare(examples)
        self.thresholds = [_THRESHOLD] * len(self.labels)

    def target(self, example: Example) -> NDArray[np.float32]:
        """1 for each label that applies, else 0: [labels]."""
        return np.array([label in example.class_labels for label in self.labels], np.float32)

    def losses(self, outputs: torch.Tensor, samples: Sequence[Sample]) -> torch.Tensor:
        """Binary cross-entropy of each sample, the mean over its labels."""
        targets = torch.as_tensor(np.stack([each.target for each in samples]))
        return binary_cross_entropy_with_logits(
            outputs, targets.to(outputs.device), reduction="none"
        ).mean(-1)

    def decode(self, outputs: torch.Tensor, samples: Sequence[Sample]) -> list[Any]:  # noqa: ARG002
        """For each sample the probabilities of the labels, [labels]."""
        return list(torch.sigmoid(outputs).cpu().numpy())

    def metrics(self, answers: Sequence[Any], examples: Sequence[Example]) -> dict[str, float]:
        """F1 of all decisions, mean F1 of the labels, and share of examples without any error.

        A label that the model does not know is one that it never gives.
        """
        _, expected, predicted = self._decisions(answers, examples)
        return {
            "micro_f1": micro_f1(expected, predicted),
            "macro_f1": macro_f1(expected, predicted),
            "subset_accuracy": subset_accuracy(expected, predicted),
        }

    def class_report(
        self, answers: Sequence[Any], examples: Sequence[Example]
    ) -> ClassificationReport:
        """Precision, recall and F1 of each label."""
        labels, expected, predicted = self._decisions(answers, examples)
        return multi_label_report(expected, predicted, labels)

    def _decisions(
        self, answers: Sequence[Any], examples: Sequence[Example]
    ) -> tuple[list[str], NDArray[np.bool_], NDArray[np.bool_]]:
        """All labels, with those of the examples that the model does not know, and for each
        whether it is expected and whether it is predicted, [examples, labels]."""
        used = {label for example in examples for label in example.class_labels}
        labels = [*self.labels, *sorted(used - set(self.labels))]
        expected = np.array(
            [[label in example.class_labels for label in labels] for example in examples]
        )
        predicted = np.zeros_like(expected)
        predicted[:, : len(self.labels)] = np.stack(answers) >= self.thresholds
        return labels, expected, predicted

    def example_scores(self, answers: Sequence[Any], examples: Sequence[Example]) -> list[float]:  # noqa: ARG002
        """Empty: F1 is no mean over examples."""
        return []

    def calibrate(self, answers: Sequence[Any], examples: Sequence[Example]) -> None:
        """Choose the threshold of each label that enough examples have and enough have not."""
        probabilities = np.stack(answers)
        for number, label in enumerate(self.labels):
            expected = np.array([label in example.class_labels for example in examples])
            if min(expected.sum(), (~expected).sum()) >= _MIN_EXAMPLES:
                self.thresholds[number] = best_threshold(expected, probabilities[:, number])

    def to_row(self, answer: Any) -> dict[str, Any]:
        """The labels that apply, and the probability of every label."""
        decisions = zip(self.labels, answer, self.thresholds, strict=True)
        return {
            "labels": [label for label, value, threshold in decisions if value >= threshold],
            "probabilities": dict(zip(self.labels, map(float, answer), strict=True)),
        }
