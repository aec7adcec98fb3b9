"""Tasks on two texts, which train on matches or on scored pairs.

A match is a query with the text that answers it, and perhaps texts that do not; a scored pair is
two texts with a number for how well they fit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch

from moli.records.errors import InputError
from moli.records.examples import Example, Match, Scored
from moli.training.batching.samples import Sample
from moli.training.tasks.base.transformer import TransformerTask


class TextPairTask(TransformerTask):
    """A task on matches or on scored pairs, but not on both at once.

    Attributes:
        trained_on: class of the examples that it was prepared with; None before that.
    """

    example_types = (Match, Scored)
    prediction_formats: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "scored": {"score": 0.0},
        "match": {},
    }
    trained_on: type[Example] | None = None

    @property
    def metric(self) -> str:
        """Spearman's correlation for scored pairs, mean reciprocal rank for matches."""
        return "spearman" if self.trained_on is Scored else "mrr_at_10"

    @property
    def minimum_evaluation_examples(self) -> int:
        """2 for scored pairs, as a correlation needs; 1 for matches."""
        return 2 if self.trained_on is Scored else 1

    def prepare(self, examples: Sequence[Example]) -> None:
        """Set `trained_on`, and check that all examples are of that class."""
        self.trained_on = type(examples[0])
        self.check_types(examples)

    def decode(self, outputs: torch.Tensor, samples: Sequence[Sample]) -> list[Any]:
        """The outputs split by sample, one row for each of its sequences.

        A row is a vector if the task embeds texts, and a score if it reranks them.
        """
        sizes = [len(sample.sequences) for sample in samples]
        return [part.numpy() for part in torch.split(outputs.cpu(), sizes)]

    def example_scores(self, answers: Sequence[Any], examples: Sequence[Example]) -> list[float]:
        """Reciprocal rank of each match.

        Empty for scored pairs: their metric, a correlation, is no mean of single scores.
        """
        has_scores = any(isinstance(example, Scored) for example in examples)
        return [] if has_scores else super().example_scores(answers, examples)

    def check_types(self, examples: Sequence[Example]) -> None:
        """Check that examples are of one type, and of the one that was trained on.

        Raises:
            InputError: they differ from each other or from those trained on; no metric fits both.
        """
        types = {type(example) for example in examples}
        types |= {self.trained_on} if self.trained_on else set()
        if len(types) > 1:
            raise InputError(
                f"the data mix {' and '.join(sorted(each.plural for each in types))}",
                where=str(self.recipe.held_out),
                fix="Use the same columns for training and held-out data.",
            )
