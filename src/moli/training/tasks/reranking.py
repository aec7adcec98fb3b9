"""How well a text answers a query, both read together: a cross-encoder (Nogueira & Cho 2019).

From matches it is learnt as a choice: softmax over the scores of the positive and the negatives of
one query (Cao et al. 2007, of the first place). From scored pairs it is learnt as a probability.
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
from moli.training.tasks.base.pairs import PairTask
from moli.training.tasks.base.sequences import sequence_logits

_AT_ONCE = 1000


@dataclass(frozen=True, slots=True)
class Judged:
    """What is beside the token ids of a query's pairs.

    Attributes:
        types: for each pair, the text that each token is of; none for a model without such types.
        score: of a scored pair, between 0 and 1; None for a match, whose first pair is right.
    """

    types: tuple[Tokens, ...]
    score: float | None


class Reranking(PairTask):
    """A score for each pair of texts, before the sigmoid or the softmax."""

    kind = "AutoModelForSequenceClassification"
    state_fields = ("bounds",)
    bounds: tuple[float, float] | None = None  # the data set's lowest and highest score

    def prepare(self, examples: Sequence[Example]) -> None:
        super().prepare(examples)
        scores = [each.score for each in examples if isinstance(each, Scored)]
        if scores:
            self.bounds = min(scores), max(scores)
            if self.bounds[0] == self.bounds[1]:
                raise InputError(
                    f"every score is {scores[0]}",
                    where=str(self.recipe.data),
                    fix="Add pairs with different scores.",
                )

    def samples(self, examples: Sequence[Example], *, training: bool) -> list[list[Sample]]:
        """A sample for each example; none for a match without negatives.

        Raises:
            InputError: there is no negative anywhere to learn from.
        """
        self.see(examples)
        groups: list[list[Sample]] = []
        for first in range(0, len(examples), _AT_ONCE):
            block = examples[first : first + _AT_ONCE]
            texts = [_pairs(each) for each in block]
            read = iter(self._encode([pair for group in texts for pair in group]))
            for example, group in zip(block, texts, strict=True):
                parts = [next(read) for _ in group]
                groups.append([self._sample(example, parts)] if parts else [])
        if training and not any(groups):
            raise InputError(
                "no query has negatives, so there is nothing to choose from",
                where=str(self.recipe.data),
                fix="Add 'negatives': texts that seem to answer the query but do not.",
            )
        return groups

    def _encode(self, pairs: Sequence[tuple[str, str]]) -> list[tuple[Tokens, Tokens | None, int]]:
        """For each pair its ids, the types of its tokens and how many tokens had no room."""
        if not pairs:
            return []
        encoded = self.tokenizer(*map(list, zip(*pairs, strict=True)), verbose=False)
        types = encoded.get("token_type_ids")
        found = []
        for number, ids in enumerate(encoded["input_ids"]):
            kinds, lost = types and types[number], len(ids) - self.max_length
            if lost > 0:  # the longer of the two loses its end
                cut = self.tokenizer(*pairs[number], truncation=True, max_length=self.max_length)
                ids, kinds = cut["input_ids"], cut.get("token_type_ids")
            kinds = np.asarray(kinds, np.int32) if types else None
            found.append((np.asarray(ids, np.int32), kinds, max(lost, 0)))
        return found

    def _sample(
        self, example: Example, read: Sequence[tuple[Tokens, Tokens | None, int]]
    ) -> Sample:
        score = None
        if isinstance(example, Scored):
            lowest, highest = self.bounds or (0.0, 1.0)
            score = min(max((example.score - lowest) / (highest - lowest), 0.0), 1.0)
        types = tuple(kinds for _, kinds, _ in read if kinds is not None)
        parts = tuple(ids for ids, _, _ in read)
        return Sample(parts, Judged(types, score), 1, sum(lost for _, _, lost in read))

    def build(self, dtype: torch.dtype) -> torch.nn.Module:
        return self.pretrained(dtype, num_labels=1)

    def forward(
        self, model: torch.nn.Module, samples: Sequence[Sample], *, packed: bool = False
    ) -> torch.Tensor:
        """Scores of all pairs of all samples, in order: [pairs], in float32."""
        parts = [part for each in samples for part in each.sequences]
        types = [kinds for each in samples for kinds in each.target.types]
        beside = {"token_type_ids": types} if types else {}
        batch = self.collate(parts, model, packed=packed, **beside)
        return sequence_logits(model, batch)[:, 0]

    def losses(self, outputs: torch.Tensor, samples: Sequence[Sample]) -> torch.Tensor:
        by_query = torch.split(outputs, [len(each.sequences) for each in samples])
        if samples[0].target.score is None:
            return torch.stack([first_place(each) for each in by_query])
        wanted = torch.tensor([each.target.score for each in samples], device=outputs.device)
        return binary_cross_entropy_with_logits(outputs, wanted, reduction="none")

    def metrics(self, answers: Sequence[Any], examples: Sequence[Example]) -> dict[str, float]:
        wanted = [each.score for each in examples if isinstance(each, Scored)]
        if wanted:
            said = [float(each[0]) for each in answers]
            return {"spearman": spearman(wanted, said), "pearson": pearson(wanted, said)}
        ranked = [_ranked(each) for each in answers]
        return {
            "mrr_at_10": float(np.mean([reciprocal_rank(each, {0}) for each in ranked])),
            "recall_at_1": float(np.mean([each[0] == 0 for each in ranked])),
        }

    def to_row(self, answer: Any) -> dict[str, Any]:
        """Scores on the data set's own scale, where it has one."""
        if self.bounds is None:
            return {"scores": [float(each) for each in answer]}
        lowest, highest = self.bounds
        share = 1 / (1 + np.exp(-float(answer[0])))
        return {"score": lowest + share * (highest - lowest)}


def first_place(scores: torch.Tensor) -> torch.Tensor:
    """-log of the share that the first of the scores [n] has in their softmax: []."""
    return torch.logsumexp(scores, 0) - scores[0]


def _pairs(example: Example) -> list[tuple[str, str]]:
    if isinstance(example, Scored):
        return [(example.first, example.second)]
    if isinstance(example, Match) and example.negatives:
        return [(example.query, text) for text in (example.positive, *example.negatives)]
    return []


def _ranked(scores: NDArray[np.float32]) -> list[int]:
    """Numbers of the texts, the best first; the positive, number 0, is behind its equals."""
    return [int(each) for each in np.lexsort((-np.arange(len(scores)), -scores))]
