"""Texts as vectors: what belongs together should lie close together (Reimers & Gurevych 2019).

Each text is read by itself and is the mean of its tokens' states, scaled to unit length. From
matches it is learnt by InfoNCE (van den Oord et al. 2018), in which the positives of all other
queries in the step are negatives too (Henderson et al. 2017); from scored pairs by CoSENT (Su
2022).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
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
from moli.training.tasks.base.pairs import PairTask
from moli.training.tasks.base.pooling import mean_states, pooling_of
from moli.training.tasks.base.wrapped_models import model_to_call, model_without_head

TEMPERATURE = 0.05
_DEPTH = 10
_MODULES = ("Transformer", "Pooling", "Normalize")


class Embedding(PairTask):
    """A unit vector for each text, whatever else is in the batch."""

    kind = "AutoModel"
    default_max_length = 256
    prediction_formats: ClassVar = {**PairTask.prediction_formats, "text": {}}
    text_column = "text"
    can_split_steps = False  # the other samples of a step are each one's negatives

    def prepare(self, examples: Sequence[Example]) -> None:
        """As for all pairs.

        Raises:
            InputError: a query has nothing that its positive could be told from.
        """
        super().prepare(examples)
        matches = [each for each in examples if isinstance(each, Match)]
        several = len({each.positive for each in matches}) > 1 and self.recipe.batch != 1
        if matches and not several and not any(each.negatives for each in matches):
            raise InputError(
                "no query has a text that is wrong for it, so nothing can be learnt",
                where=str(self.recipe.data),
                fix="Add 'negatives', or other positives with a batch of more than one.",
            )

    def samples(self, examples: Sequence[Example], *, training: bool) -> list[list[Sample]]:  # noqa: ARG002
        self.see(examples)
        texts = [_texts(each) for each in examples]
        flat = [text for group in texts for text in group]
        cut = iter(Truncator(self.tokenizer, self.max_length).truncate(flat))
        groups: list[list[Sample]] = []
        for example, group in zip(examples, texts, strict=True):
            parts, lost = zip(*(next(cut) for _ in group), strict=True)
            score = example.score if isinstance(example, Scored) else None
            groups.append([Sample(parts, score, 1, sum(lost))])
        return groups

    def restore(self, folder: Path, dtype: torch.dtype) -> torch.nn.Module:
        self.pooling = pooling_of(str(folder)) or "mean"
        return super().restore(folder, dtype)

    @cached_property
    def pooling(self) -> str:
        """Its base's."""
        return pooling_of(folder_of(self.recipe.base)) or "mean"

    def forward(
        self, model: torch.nn.Module, samples: Sequence[Sample], *, packed: bool = False
    ) -> torch.Tensor:
        """Unit vectors of all parts of all samples, in order: [parts, hidden], in float32."""
        parts = [part for each in samples for part in each.sequences]
        batch = self.collate(parts, model, packed=packed)
        encoder = model_without_head(model) if batch.packed else model_to_call(model)
        states = encoder(**batch.inputs).last_hidden_state
        states = batch.gather(states).float()
        if self.pooling == "cls":
            return normalize(states[batch.starts], dim=-1)
        return normalize(mean_states(states, batch.starts), dim=-1)

    def losses(self, outputs: torch.Tensor, samples: Sequence[Sample]) -> torch.Tensor:
        """Each sample's; CoSENT's is of a step as a whole, and counts the same for each."""
        if samples[0].target is None:
            queries, candidates = _divided(samples)
            own, excluded = _right(samples)
            return info_nce(
                outputs[torch.from_numpy(queries)],
                outputs[torch.from_numpy(candidates)],
                torch.from_numpy(own).to(outputs.device),
                torch.from_numpy(excluded).to(outputs.device),
            )
        cosines = (outputs[0::2] * outputs[1::2]).sum(-1)
        scores = torch.tensor([each.target for each in samples], device=outputs.device)
        return cosent(cosines, scores).expand(len(samples))

    def output_checksums(self, outputs: torch.Tensor, samples: Sequence[Sample]) -> torch.Tensor:
        """The sum of what is positive in a sample's vectors, for its loss depends on the others."""
        owner = np.repeat(np.arange(len(samples)), [len(each.sequences) for each in samples])
        positive = outputs.clamp(min=0).sum(-1)
        return positive.new_zeros(len(samples)).index_add(
            0, torch.from_numpy(owner).to(positive.device), positive
        )

    def metrics(self, answers: Sequence[Any], examples: Sequence[Example]) -> dict[str, float]:
        scored = [each for each in examples if isinstance(each, Scored)]
        if not scored:
            pairs = _search(answers, [each for each in examples if isinstance(each, Match)])
            return {
                "mrr_at_10": float(np.mean([reciprocal_rank(*pair, _DEPTH) for pair in pairs])),
                "recall_at_1": float(np.mean([recall(*pair, 1) for pair in pairs])),
            }
        wanted = [each.score for each in scored]
        cosines = [float(first @ second) for first, second in answers]
        return {"spearman": spearman(wanted, cosines), "pearson": pearson(wanted, cosines)}

    def example_scores(self, answers: Sequence[Any], examples: Sequence[Example]) -> list[float]:
        matches = [each for each in examples if isinstance(each, Match)]
        if not matches:
            return super().example_scores(answers, examples)
        return [reciprocal_rank(*pair, _DEPTH) for pair in _search(answers, matches)]

    def to_row(self, answer: Any) -> dict[str, Any]:
        """Of a text by itself, its vector."""
        if len(answer) == 1:
            return {"vector": [float(each) for each in answer[0]]}
        return {"cosines": [float(each) for each in answer[1:] @ answer[0]]}

    def save(self, model: torch.nn.Module, folder: Path) -> None:
        """Beside the weights, what sentence-transformers and Moli's encoder read an encoder by."""
        super().save(model, folder)
        _widen(folder)
        modules = [
            {
                "idx": each,
                "name": str(each),
                "path": f"{each}_{name}" if each else "",
                "type": f"sentence_transformers.models.{name}",
            }
            for each, name in enumerate(_MODULES)
        ]
        modes = {
            "word_embedding_dimension": self.hidden_size,
            "pooling_mode_cls_token": self.pooling == "cls",
            "pooling_mode_mean_tokens": self.pooling == "mean",
        }
        limits = {"max_seq_length": self.max_length, "do_lower_case": False}
        (folder / "1_Pooling").mkdir(exist_ok=True)
        for name, value in (
            ("modules.json", modules),
            ("1_Pooling/config.json", modes),
            ("sentence_bert_config.json", limits),
        ):
            write_json(folder / name, value)


def info_nce(
    queries: torch.Tensor,
    candidates: torch.Tensor,
    own: torch.Tensor,
    excluded: torch.Tensor,
    temperature: float = TEMPERATURE,
) -> torch.Tensor:
    """How far each query is from distinguishing its own candidate from all others: [N], in nats.

    loss_i = -log(exp(q_i . c_own / t) / sum_j exp(q_i . c_j / t))

    Args:
        queries: unit vectors [N, H].
        candidates: unit vectors [C, H].
        own: the number of each query's candidate, [N].
        excluded: [N, C], candidates that are no negatives of a query, as they are right as well.
    """
    scores = queries @ candidates.T / temperature
    return cross_entropy(scores.masked_fill(excluded, -torch.inf), own, reduction="none")


def cosent(
    cosines: torch.Tensor, scores: torch.Tensor, temperature: float = TEMPERATURE
) -> torch.Tensor:
    """How far pairs of texts [N] are from having cosines in the order of their scores: [].

    loss = log(1 + sum over (i, j) with s_i > s_j of exp((cos_j - cos_i) / t))
    """
    gaps = (cosines[None, :] - cosines[:, None]) / temperature
    ordered = gaps[scores[:, None] > scores[None, :]]
    return torch.logsumexp(torch.cat([ordered.new_zeros(1), ordered]), 0)


def _texts(example: Example) -> tuple[str, ...]:
    if isinstance(example, Text):
        return (example.text,)
    if isinstance(example, Scored):
        return example.first, example.second
    if isinstance(example, Match):
        return example.query, example.positive, *example.negatives
    return ()


def _divided(samples: Sequence[Sample]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Where among all parts the queries are, and where everything else is."""
    ends = np.cumsum([len(each.sequences) for each in samples])
    queries = np.concatenate([[0], ends[:-1]])
    return queries, np.setdiff1d(np.arange(ends[-1]), queries)


def _right(samples: Sequence[Sample]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """For each query its own candidate [N], and others that are right by their text [N, C]."""
    number: dict[bytes, int] = {}
    texts = [
        [number.setdefault(part.tobytes(), len(number)) for part in each.sequences]
        for each in samples
    ]
    right: dict[int, set[int]] = {}
    for query, positive, *_ in texts:
        right.setdefault(query, set()).add(positive)
    candidates = np.array([each for _, *others in texts for each in others])
    sizes = [len(each) - 1 for each in texts]
    own = np.cumsum([0, *sizes[:-1]])
    excluded = np.stack([np.isin(candidates, list(right[query])) for query, *_ in texts])
    excluded[np.arange(len(own)), own] = False
    return own, excluded


def _search(answers: Sequence[Any], matches: Sequence[Match]) -> list[tuple[list[str], set[str]]]:
    """For each query what it finds among the positives and negatives of all, and what it is to."""
    vectors: dict[str, Any] = {}
    right: dict[str, set[str]] = {}
    for match, (_, *others) in zip(matches, answers, strict=True):
        vectors |= zip((match.positive, *match.negatives), others, strict=True)
        right.setdefault(match.query, set()).add(match.positive)
    texts, pool = list(vectors), torch.from_numpy(np.stack(list(vectors.values())))
    queries = torch.from_numpy(np.stack([vectors_of[0] for vectors_of in answers]))
    best = torch.topk(queries @ pool.T, min(_DEPTH, len(texts))).indices.tolist()
    ranked = [[texts[each] for each in row] for row in best]
    asked = [right[match.query] for match in matches]
    return list(zip(ranked, asked, strict=True))


def _widen(folder: Path) -> None:
    """Whole weights in float32, which every reader of encoders knows."""
    path = folder / "model.safetensors"
    if not path.is_file():
        return
    from safetensors.torch import load_file, save_file

    tensors = load_file(path)
    if any(each.dtype == torch.bfloat16 for each in tensors.values()):
        save_file({name: each.float() for name, each in tensors.items()}, path, {"format": "pt"})
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
        write_json(folder / "config.json", config | {"dtype": "float32"})
