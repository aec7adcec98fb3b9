"""Text classification: the classic recipe of BERT (Devlin et al. 2018, section 4.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch.nn.functional import cosine_similarity, cross_entropy

from moli.records.examples import Example, Labelled
from moli.training.batching.samples import Sample
from moli.training.tasks.base.labels import LabelTask, label_id
from moli.training.tasks.base.sequence_logits import logits_of_means, sequence_means
from moli.training.tasks.base.text_classifier import TextClassifier

_LABEL_SMOOTHING = 0.1


class Classification(LabelTask, TextClassifier):
    """Classification of texts with one label each; a sample's target is the label's id.

    Attributes:
        directions: unit vectors, [labels, hidden], to which the texts' vectors are drawn while
            the model is trained, each to that of its label; None for no such vectors.
    """

    directions: torch.Tensor | None = None

    state_fields: ClassVar[tuple[str, ...]] = (*LabelTask.state_fields, "pooling")
    example_types: ClassVar[tuple[type[Example], ...]] = (Labelled,)

    @property
    def prediction_formats(self) -> Mapping[str, Mapping[str, Any]]:
        """Rows to predict from may omit the label."""
        return {"labelled": {"label": self.labels[0]}}

    def target(self, example: Example) -> Any:
        """The target of an example's sample."""
        return label_id(str(example.class_label), self.label_ids)

    def is_supervised(self, example: Example) -> bool:
        """Whether the model knows the example's label, so that it has a loss."""
        return example.class_label in self.label_ids

    def head_inputs(self, model: torch.nn.Module, samples: Sequence[Sample]) -> torch.Tensor:
        """The mean of each text's states."""
        return sequence_means(model, self.collate_samples(samples, model, packed=False))

    def training_losses(
        self, model: torch.nn.Module, samples: Sequence[Sample], *, packed: bool
    ) -> torch.Tensor:
        """Smoothed cross-entropy, and 1 - cosine of each text's vector and its label's direction.

        Such directions, which training does not move, keep the classes of few examples apart
        (Hoffer et al. 2018, "Fix your classifier"). Without smoothing (Szegedy et al. 2016, section
        7), a model that knows them by heart would be certain of every text, whatever it says.
        """
        if self.directions is None:
            return super().training_losses(model, samples, packed=packed)
        means = sequence_means(model, self.collate_samples(samples, model, packed=packed))
        targets = torch.tensor([self.target_id(sample) for sample in samples])
        distances = 1 - cosine_similarity(means, self.directions[targets].to(means.device))
        logits = logits_of_means(model, means)
        errors = cross_entropy(
            logits, targets.to(logits.device), reduction="none", label_smoothing=_LABEL_SMOOTHING
        )
        return errors + distances
