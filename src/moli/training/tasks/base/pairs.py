"""What tasks on two texts share: which of two kinds of example they learn from, and its metric."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch

from moli.records.errors import InputError
from moli.records.examples import Example, Match, Scored
from moli.training.batching.samples import Sample
from moli.training.tasks.base.transformer import TransformerTask


class PairTask(TransformerTask):
    """A task on matches or on scored pairs, but not on both at once.

    Attributes:
        learnt: the kind of example that it was prepared with; None before.
    """

    example_types = (Match, Scored)
    prediction_formats: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "scored": {"score": 0.0},
        "match": {},
    }
    learnt: type[Example] | None = None

    @property
    def metric(self) -> str:
        return "spearman" if self.learnt is Scored else "mrr_at_10"

    @property
    def minimum_evaluation_examples(self) -> int:
        return 2 if self.learnt is Scored else 1

    def prepare(self, examples: Sequence[Example]) -> None:
        self.learnt = type(examples[0])
        self.see(examples)

    def decode(self, outputs: torch.Tensor, samples: Sequence[Sample]) -> list[Any]:
        """For each sample the rows of its parts: vectors, or scores."""
        sizes = [len(each.sequences) for each in samples]
        return [each.numpy() for each in torch.split(outputs.cpu(), sizes)]

    def example_scores(self, answers: Sequence[Any], examples: Sequence[Example]) -> list[float]:
        """Of matches; a correlation is not a mean of anything."""
        scored = any(isinstance(each, Scored) for each in examples)
        return [] if scored else super().example_scores(answers, examples)

    def see(self, examples: Sequence[Example]) -> None:
        """Check that examples are of one kind, and of the one that is learnt from.

        Raises:
            InputError: they are not, so that no metric would fit both.
        """
        kinds = {type(each) for each in examples} | ({self.learnt} if self.learnt else set())
        if len(kinds) > 1:
            raise InputError(
                f"the data mix {' and '.join(sorted(each.__name__.lower() for each in kinds))} "
                "examples",
                where=str(self.recipe.held_out),
                fix="Use the same columns for training and held-out data.",
            )
