"""Classification of pairs of texts, which the model reads together: entailment and paraphrases
(Devlin et al. 2018, section 4.1)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from moli.records.examples import Example, LabelledPair
from moli.training.batching.samples import Sample, Tokens
from moli.training.tasks.base.pair_encoding import encode_pairs
from moli.training.tasks.classification import Classification


@dataclass(frozen=True, slots=True)
class PairTarget:
    """Everything about a pair besides its token ids.

    Attributes:
        label_id: id of the label.
        token_types: 0 for tokens of the first text, 1 for the second; None without types.
    """

    label_id: int
    token_types: Tokens | None


class PairClassification(Classification):
    """Classification of pairs of texts; a sample is a pair, and its target a `PairTarget`."""

    example_types = (LabelledPair,)
    text_column = ""

    @property
    def prediction_formats(self) -> Mapping[str, Mapping[str, Any]]:
        """Rows to predict from may omit the label."""
        return {"labelled_pair": {"label": self.labels[0]}}

    def samples(self, examples: Sequence[Example], *, training: bool) -> list[list[Sample]]:  # noqa: ARG002
        """One sample for each pair."""
        labelled = [example for example in examples if isinstance(example, LabelledPair)]
        pairs = [(example.first, example.second) for example in labelled]
        encoded = encode_pairs(self.tokenizer, pairs, self.max_length)
        return [
            [
                Sample(
                    (pair.ids,),
                    target=PairTarget(self.target(example), pair.token_types),
                    supervised=self.is_supervised(example),
                    truncated_tokens=pair.truncated,
                )
            ]
            for example, pair in zip(labelled, encoded, strict=True)
        ]

    def target_id(self, sample: Sample) -> int:
        """Id of a sample's label."""
        return int(sample.target.label_id)

    def token_inputs(self, samples: Sequence[Sample]) -> Mapping[str, Sequence[Tokens]]:
        """The token types, for a model that has some."""
        types = [each.target.token_types for each in samples]
        return {"token_type_ids": types} if types[0] is not None else {}
