"""Reranking: how well a text answers a query, read together by a cross-encoder (Nogueira & Cho
2019).

On matches the loss is that of a choice: softmax over the scores of the positive and the negatives
of one query (Cao et al. 2007, for the first place). On scored pairs a score is a probability.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import binary_cross_entropy_with_logits

from moli.metrics.correlation import pearson, spearman
from moli.metrics.ranking import reciprocal_rank
from moli.records.errors import InputError
from moli.records.examples import Example, Match, Scored
from moli.training.batching.samples import Sample, Tokens
from moli.training.tasks.base.pair_encoding import EncodedPair, encode_pairs
from moli.training.tasks.base.sequence_logits import sequence_logits
from moli.training.tasks.base.text_pairs import TextPairTask

_CHUNK = 1000  # examples that are tokenized at once


@dataclass(frozen=True, slots=True)
class RerankingTarget:
    """Everything about the pairs of a query besides their token ids.

    Attributes:
        token_types: for each pair, 0 for tokens of the first text and 1 for those of the second;
            empty for models without token types.
        score: score of a scored pair, between 0 and 1; None for a match, whose first pair is the
            right one.
    """

    token_types: tuple[Tokens, ...]
    score: float | None


class Reranking(TextPairTask):
    """Reranking: the model gives a score to each pair of texts, before the sigmoid or the softmax.

    A sample has the pairs of an example as sequences; its target is a `RerankingTarget`.

    Attributes:
        bounds: the lowest and highest score in the training data; None for matches.
    """

    auto_class = "AutoModelForSequenceClassification"
    state_fields = ("bounds",)
    bounds: tuple[float, float] | None = None

    def prepare(self, examples: Sequence[Example]) -> None:
        """Set `trained_on` and `bounds` from the examples' class and scores."""
        super().prepare(examples)
        scores = [example.score for example in examples if isinstance(example, Scored)]
        if scores:
            self.bounds = min(scores), max(scores)
            if self.bounds[0] == self.bounds[1]:
                raise InputError(
                    f"every score is {scores[0]}",
                    where=self.recipe.data_name,
                    fix="Add pairs with different scores.",
                )

    def samples(self, examples: Sequence[Example], *, training: bool) -> list[list[Sample]]:
        """A sample for each example; none for a match without negatives.

        Raises:
            InputError: no example has a negative to learn from.
        """
        self.check_types(examples)
        groups: list[list[Sample]] = []
        for start in range(0, len(examples), _CHUNK):
            chunk = examples[start : start + _CHUNK]
            pairs = [_text_pairs(example) for example in chunk]
            flat = [pair for group in pairs for pair in group]
            encoded = iter(encode_pairs(self.tokenizer, flat, self.max_length))
            for example, group in zip(chunk, pairs, strict=True):
                own = [next(encoded) for _ in group]
                groups.append([self._sample(example, own)] if own else [])
        if training and not any(groups):
            raise InputError(
                "no query has negatives, so there is nothing to choose from",
                where=self.recipe.data_name,
                fix="Add 'negatives': texts that seem to answer the query but do not.",
            )
        return groups

    def _sample(self, example: Example, pairs: Sequence[EncodedPair]) -> Sample:
        """The sample of an example, with its score scaled to lie between 0 and 1."""
        score = None
        if isinstance(example, Scored):
            lowest, highest = self.bounds or (0.0, 1.0)
            score = min(max((example.score - lowest) / (highest - lowest), 0.0), 1.0)
        token_types = tuple(pair.token_types for pair in pairs if pair.token_types is not None)
        return Sample(
            tuple(pair.ids for pair in pairs),
            RerankingTarget(token_types, score),
            truncated_tokens=sum(pair.truncated for pair in pairs),
        )

    def build(self, dtype: torch.dtype) -> torch.nn.Module:
        """The base model with a head that gives one score."""
        return self.load_base(dtype, num_labels=1)

    def forward(
        self, model: torch.nn.Module, samples: Sequence[Sample], *, packed: bool = False
    ) -> torch.Tensor:
        """Scores of all pairs of all samples, in order: [pairs], in float32."""
        sequences = [sequence for sample in samples for sequence in sample.sequences]
        types = [types for sample in samples for types in sample.target.token_types]
        token_inputs = {"token_type_ids": types} if types else {}
        batch = self.collate(sequences, model, packed=packed, token_inputs=token_inputs)
        return sequence_logits(model, batch)[:, 0]

    def losses(self, outputs: torch.Tensor, samples: Sequence[Sample]) -> torch.Tensor:
        """Loss of each sample: `first_place_loss` of matches, cross-entropy of scored pairs."""
        by_query = torch.split(outputs, [len(sample.sequences) for sample in samples])
        if samples[0].target.score is None:
            return torch.stack([first_place_loss(scores) for scores in by_query])
        targets = torch.tensor([sample.target.score for sample in samples], device=outputs.device)
        return binary_cross_entropy_with_logits(outputs, targets, reduction="none")

    def metrics(self, answers: Sequence[Any], examples: Sequence[Example]) -> dict[str, float]:
        """Mean reciprocal rank and recall at 1 of matches, or correlations of scored pairs."""
        expected = [example.score for example in examples if isinstance(example, Scored)]
        if expected:
            predicted = [float(scores[0]) for scores in answers]
            return {
                "spearman": spearman(expected, predicted),
                "pearson": pearson(expected, predicted),
            }
        rankings = [_ranking(scores) for scores in answers]
        return {
            "mrr_at_10": float(np.mean([reciprocal_rank(ranking, {0}) for ranking in rankings])),
            "recall_at_1": float(np.mean([ranking[0] == 0 for ranking in rankings])),
        }

    def to_row(self, answer: Any) -> dict[str, Any]:
        """The score on the scale of the training data, or the scores of a match's texts."""
        if self.bounds is None:
            return {"scores": [float(score) for score in answer]}
        lowest, highest = self.bounds
        share = 1 / (1 + np.exp(-float(answer[0])))
        return {"score": lowest + share * (highest - lowest)}


def first_place_loss(scores: torch.Tensor) -> torch.Tensor:
    """Negative logarithm of the softmax of scores [n] at the first of them: []."""
    return torch.logsumexp(scores, 0) - scores[0]


def _text_pairs(example: Example) -> list[tuple[str, str]]:
    """The pairs of texts to score: the positive's first; empty for a match without negatives."""
    if isinstance(example, Scored):
        return [(example.first, example.second)]
    if isinstance(example, Match) and example.negatives:
        return [(example.query, text) for text in (example.positive, *example.negatives)]
    return []


def _ranking(scores: NDArray[np.float32]) -> list[int]:
    """Indices of texts, the best first; the positive, index 0, comes last among equal scores."""
    return [int(index) for index in np.lexsort((-np.arange(len(scores)), -scores))]
