"""Text embedding: texts as vectors, of which related ones are close (Reimers & Gurevych 2019).

A text is read by itself; its vector is the mean of its tokens' states, scaled to unit length.
Matches train it by InfoNCE (van den Oord et al. 2018), in which the positives of all other queries
in the step are negatives too (Henderson et al. 2017); scored pairs by CoSENT (Su 2022).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn.functional import cross_entropy, normalize

from moli.metrics.correlation import pearson, spearman
from moli.metrics.ranking import recall, reciprocal_rank
from moli.models.weights.json_files import write_json
from moli.models.weights.loading import folder_of
from moli.models.weights.truncation import Truncator
from moli.records.errors import InputError
from moli.records.examples import Example, Match, Scored, Text
from moli.training.batching.samples import Sample
from moli.training.tasks.base.pooling import mean_states, pooling_of
from moli.training.tasks.base.text_pairs import TextPairTask
from moli.training.tasks.base.wrapped_models import model_to_call, model_without_head

TEMPERATURE = 0.05
_DEPTH = 10  # texts that a search returns for a query
_MODULES = ("Transformer", "Pooling", "Normalize")


class Embedding(TextPairTask):
    """Embedding of texts as unit vectors.

    A sample has all texts of an example as sequences; its target is the score of a scored pair, and
    None for a match.
    """

    auto_class = "AutoModel"
    default_max_length = 256
    prediction_formats: ClassVar = {**TextPairTask.prediction_formats, "text": {}}
    text_column = "text"
    can_split_steps = False  # the other samples of a step are negatives of a sample

    def prepare(self, examples: Sequence[Example]) -> None:
        """Set `trained_on`, and check that the matches have negatives.

        Raises:
            InputError: no query has a negative, in its example or in its batch.
        """
        super().prepare(examples)
        matches = [example for example in examples if isinstance(example, Match)]
        has_others = len({match.positive for match in matches}) > 1 and self.recipe.batch != 1
        if matches and not has_others and not any(match.negatives for match in matches):
            raise InputError(
                "no query has a text that is wrong for it, so nothing can be learnt",
                where=self.recipe.data_name,
                fix="Add 'negatives', or other positives with a batch of more than one.",
            )

    def samples(self, examples: Sequence[Example], *, training: bool) -> list[list[Sample]]:  # noqa: ARG002
        """One sample for each example, with all its texts as sequences."""
        self.check_types(examples)
        texts = [_texts(example) for example in examples]
        flat = [text for group in texts for text in group]
        encoded = iter(Truncator(self.tokenizer, self.max_length).truncate(flat))
        groups: list[list[Sample]] = []
        for example, group in zip(examples, texts, strict=True):
            own = [next(encoded) for _ in group]
            score = example.score if isinstance(example, Scored) else None
            sequences = tuple(text.ids for text in own)
            groups.append([Sample(sequences, score, truncated_tokens=sum(t.dropped for t in own))])
        return groups

    def restore(self, folder: Path, dtype: torch.dtype) -> torch.nn.Module:
        """The trained model; also sets `pooling` from its folder."""
        self.pooling = pooling_of(str(folder)) or "mean"
        return super().restore(folder, dtype)

    @cached_property
    def pooling(self) -> str:
        """ "mean" or "cls", as in the base; "mean" for a base that is no sentence encoder."""
        return pooling_of(folder_of(self.recipe.base)) or "mean"

    def forward(
        self, model: torch.nn.Module, samples: Sequence[Sample], *, packed: bool = False
    ) -> torch.Tensor:
        """Unit vectors of all texts of all samples, in order: [texts, hidden], in float32."""
        sequences = [sequence for sample in samples for sequence in sample.sequences]
        batch = self.collate(sequences, model, packed=packed)
        encoder = model_without_head(model) if batch.packed else model_to_call(model)
        states = batch.gather(encoder(**batch.inputs).last_hidden_state).float()
        if self.pooling == "cls":
            return normalize(states[batch.starts], dim=-1)
        return normalize(mean_states(states, batch.starts), dim=-1)

    def losses(self, outputs: torch.Tensor, samples: Sequence[Sample]) -> torch.Tensor:
        """InfoNCE of each match; for scored pairs the CoSENT loss of the whole step, for each."""
        if samples[0].target is None:
            contrast = _in_batch_contrast(samples)
            return info_nce(
                outputs[torch.from_numpy(contrast.queries)],
                outputs[torch.from_numpy(contrast.candidates)],
                torch.from_numpy(contrast.positives).to(outputs.device),
                torch.from_numpy(contrast.excluded).to(outputs.device),
            )
        cosines = (outputs[0::2] * outputs[1::2]).sum(-1)
        scores = torch.tensor([sample.target for sample in samples], device=outputs.device)
        return cosent(cosines, scores).expand(len(samples))

    def output_checksums(self, outputs: torch.Tensor, samples: Sequence[Sample]) -> torch.Tensor:
        """Sum of the positive numbers in each sample's vectors.

        The loss cannot serve as this number, since it depends on the other samples of the step.
        """
        indices = np.repeat(np.arange(len(samples)), [len(each.sequences) for each in samples])
        positive = outputs.clamp(min=0).sum(-1)
        return positive.new_zeros(len(samples)).index_add(
            0, torch.from_numpy(indices).to(positive.device), positive
        )

    def metrics(self, answers: Sequence[Any], examples: Sequence[Example]) -> dict[str, float]:
        """Mean reciprocal rank and recall at 1 of matches, or correlations of scored pairs."""
        scored = [example for example in examples if isinstance(example, Scored)]
        if not scored:
            results = _search(answers, [each for each in examples if isinstance(each, Match)])
            return {
                "mrr_at_10": float(np.mean([result.reciprocal_rank for result in results])),
                "recall_at_1": float(np.mean([result.recall_at_1 for result in results])),
            }
        expected = [example.score for example in scored]
        cosines = [float(first @ second) for first, second in answers]
        return {"spearman": spearman(expected, cosines), "pearson": pearson(expected, cosines)}

    def example_scores(self, answers: Sequence[Any], examples: Sequence[Example]) -> list[float]:
        """Reciprocal rank of each match; empty for scored pairs."""
        matches = [example for example in examples if isinstance(example, Match)]
        if not matches:
            return super().example_scores(answers, examples)
        return [result.reciprocal_rank for result in _search(answers, matches)]

    def to_row(self, answer: Any) -> dict[str, Any]:
        """The vector of a single text, or the cosines of the first of several with the others."""
        if len(answer) == 1:
            return {"vector": [float(value) for value in answer[0]]}
        return {"cosines": [float(cosine) for cosine in answer[1:] @ answer[0]]}

    def save_state(self, model: torch.nn.Module, folder: Path) -> None:
        """Write state and tokenizer, and the configuration of a sentence-transformers encoder."""
        super().save_state(model, folder)
        _convert_to_float32(folder)
        modules = [
            {
                "idx": index,
                "name": str(index),
                "path": f"{index}_{name}" if index else "",
                "type": f"sentence_transformers.models.{name}",
            }
            for index, name in enumerate(_MODULES)
        ]
        pooling = {
            "word_embedding_dimension": self.hidden_size,
            "pooling_mode_cls_token": self.pooling == "cls",
            "pooling_mode_mean_tokens": self.pooling == "mean",
        }
        limits = {"max_seq_length": self.max_length, "do_lower_case": False}
        (folder / "1_Pooling").mkdir(exist_ok=True)
        for name, value in (
            ("modules.json", modules),
            ("1_Pooling/config.json", pooling),
            ("sentence_bert_config.json", limits),
        ):
            write_json(folder / name, value)


def info_nce(
    queries: torch.Tensor,
    candidates: torch.Tensor,
    positives: torch.Tensor,
    excluded: torch.Tensor,
    temperature: float = TEMPERATURE,
) -> torch.Tensor:
    """Negative log of the share that a query's positive has among all candidates: [N], in nats.

    loss_i = -log(exp(q_i . c_positive / t) / sum_j exp(q_i . c_j / t))

    Args:
        queries: unit vectors [N, H].
        candidates: unit vectors [C, H].
        positives: index of each query's positive among the candidates, [N].
        excluded: mask of the candidates that are no negatives of a query, since they are right for
            it as well, [N, C].
    """
    scores = queries @ candidates.T / temperature
    return cross_entropy(scores.masked_fill(excluded, -torch.inf), positives, reduction="none")


def cosent(
    cosines: torch.Tensor, scores: torch.Tensor, temperature: float = TEMPERATURE
) -> torch.Tensor:
    """Loss of the cosines of pairs [N] that are not in the order of their scores [N]: [].

    loss = log(1 + sum over (i, j) with s_i > s_j of exp((cos_j - cos_i) / t))
    """
    gaps = (cosines[None, :] - cosines[:, None]) / temperature
    ordered = gaps[scores[:, None] > scores[None, :]]
    return torch.logsumexp(torch.cat([ordered.new_zeros(1), ordered]), 0)


def _texts(example: Example) -> tuple[str, ...]:
    """The texts of an example to embed: of a match the query, the positive, and its negatives."""
    if isinstance(example, Text):
        return (example.text,)
    if isinstance(example, Scored):
        return example.first, example.second
    if isinstance(example, Match):
        return example.query, example.positive, *example.negatives
    return ()


@dataclass(frozen=True, slots=True)
class _InBatchContrast:
    """The texts of a step's matches, as queries and the candidates they choose from.

    Attributes:
        queries: indices of the queries among all texts, [N].
        candidates: indices of all positives and negatives among all texts, [C].
        positives: index of each query's positive among the candidates, [N].
        excluded: mask of the candidates that equal another positive of the same query, [N, C].
    """

    queries: NDArray[np.int64]
    candidates: NDArray[np.int64]
    positives: NDArray[np.int64]
    excluded: NDArray[np.bool_]


def _in_batch_contrast(samples: Sequence[Sample]) -> _InBatchContrast:
    """Queries and candidates among all texts of samples that were made of matches."""
    ends = np.cumsum([len(sample.sequences) for sample in samples])
    queries = np.concatenate([[0], ends[:-1]])
    number: dict[bytes, int] = {}  # of each different text
    texts = [
        [number.setdefault(sequence.tobytes(), len(number)) for sequence in sample.sequences]
        for sample in samples
    ]
    right: dict[int, set[int]] = {}
    for query, positive, *_ in texts:
        right.setdefault(query, set()).add(positive)
    candidates = np.array([text for _, *others in texts for text in others])
    sizes = [len(group) - 1 for group in texts]
    positives = np.cumsum([0, *sizes[:-1]])
    excluded = np.stack([np.isin(candidates, list(right[query])) for query, *_ in texts])
    excluded[np.arange(len(positives)), positives] = False
    return _InBatchContrast(
        queries, np.setdiff1d(np.arange(ends[-1]), queries), positives, excluded
    )


@dataclass(frozen=True, slots=True)
class _SearchResult:
    """A query's nearest texts, the nearest first, and the texts that are right for it."""

    ranked: list[str]
    relevant: set[str]

    @property
    def reciprocal_rank(self) -> float:
        """Reciprocal rank of the first relevant text; 0 if none was found."""
        return reciprocal_rank(self.ranked, self.relevant, _DEPTH)

    @property
    def recall_at_1(self) -> float:
        """Share of the relevant texts that is ranked first."""
        return recall(self.ranked, self.relevant, 1)


def _search(answers: Sequence[Any], matches: Sequence[Match]) -> list[_SearchResult]:
    """Search for the query of each match among the positives and negatives of all matches.

    Args:
        answers: for each match the vectors of its texts, with that of the query first.
    """
    vectors: dict[str, Any] = {}
    relevant: dict[str, set[str]] = {}
    for match, (_, *others) in zip(matches, answers, strict=True):
        vectors |= zip((match.positive, *match.negatives), others, strict=True)
        relevant.setdefault(match.query, set()).add(match.positive)
    texts, pool = list(vectors), torch.from_numpy(np.stack(list(vectors.values())))
    queries = torch.from_numpy(np.stack([own_vectors[0] for own_vectors in answers]))
    nearest = torch.topk(queries @ pool.T, min(_DEPTH, len(texts))).indices.tolist()
    return [
        _SearchResult([texts[index] for index in row], relevant[match.query])
        for row, match in zip(nearest, matches, strict=True)
    ]


def _convert_to_float32(folder: Path) -> None:
    """Rewrite bfloat16 weights of a whole model in float32, which every encoder library reads."""
    path = folder / "model.safetensors"
    if not path.is_file():
        return
    from safetensors.torch import load_file, save_file

    tensors = load_file(path)
    if any(tensor.dtype == torch.bfloat16 for tensor in tensors.values()):
        save_file({name: each.float() for name, each in tensors.items()}, path, {"format": "pt"})
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        write_json(folder / "config.json", config | {"dtype": "float32"})
