"""Fusion of the scores of two searches: pure functions of scores by passage id.

No method is best everywhere: reciprocal rank fusion loses to its better input on most BEIR sets,
where min-max wins on 27 of 29. So the method is a parameter, chosen by measurement.
"""

from __future__ import annotations

from collections.abc import Mapping

from moli.models.protocols.encoder import Encoder
from moli.records.answers import Fusion
from moli.retrieval.tokens import Language

Scores = Mapping[int, float]

_RRF_K = 60  # Cormack, Clarke & Büttcher 2009


def default_fusion(encoder: Encoder, language: Language, passage_language: Language) -> Fusion:
    """The fusion of a query's and a passage's language, unless the workspace was tuned.

    Chosen on SQuAD and SciFact training questions (English) and CMRC training questions (Chinese).
    Between languages, the words of a query are translated by a dictionary, and an encoder that
    reads both counts more. Where it does not, words have to decide on Chinese.
    """
    if language != passage_language:
        return Fusion("minmax", 0.3 if encoder.reads_chinese else 0.9)
    return Fusion("minmax", 0.9 if language == "zh" and not encoder.reads_chinese else 0.5)


def fuse(lexical: Scores, dense: Scores, fusion: Fusion) -> list[tuple[int, float]]:
    """Passage ids of both searches with their fused scores, best first; ties by passage id.

    A passage that one search did not return gets 0 from it, the lowest normalized score; a search
    without weight contributes no passages.
    """
    normalize = {"minmax": minmax, "zscore": zscore, "rrf": reciprocal_rank}[fusion.method]
    fused: dict[int, float] = {}
    for scores, weight in ((lexical, fusion.weight), (dense, 1 - fusion.weight)):
        if weight > 0:
            for passage, value in normalize(scores).items():
                fused[passage] = fused.get(passage, 0.0) + weight * value
    return sorted(fused.items(), key=order)


def order(ranked: tuple[int, float]) -> tuple[float, int]:
    """The key that sorts passages with their scores."""
    passage_id, score = ranked
    return -score, passage_id


def minmax(scores: Scores) -> dict[int, float]:
    """Scores mapped linearly to [0, 1]; if all are equal, they become 1."""
    if not scores:
        return {}
    low, high = min(scores.values()), max(scores.values())
    if high == low:
        return dict.fromkeys(scores, 1.0)
    return {passage: (score - low) / (high - low) for passage, score in scores.items()}


def zscore(scores: Scores) -> dict[int, float]:
    """Scores in standard deviations above the lowest one, which becomes 0."""
    if not scores:
        return {}
    mean = sum(scores.values()) / len(scores)
    variance = sum((score - mean) ** 2 for score in scores.values()) / len(scores)
    if variance == 0:
        return dict.fromkeys(scores, 1.0)
    low = min(scores.values())
    return {passage: (score - low) / variance**0.5 for passage, score in scores.items()}


def reciprocal_rank(scores: Scores) -> dict[int, float]:
    """1 / (60 + rank) of each passage, with rank 1 for the highest score."""
    ranked = sorted(scores, key=lambda passage: (-scores[passage], passage))
    return {passage: 1 / (_RRF_K + rank) for rank, passage in enumerate(ranked, 1)}
