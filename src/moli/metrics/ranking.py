"""Metrics of ranked lists. `ranked` is best first and without repetitions."""

from __future__ import annotations

import math
from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import TypeVar

Item = TypeVar("Item", bound=Hashable)


def ndcg(ranked: Sequence[Item], relevant: Mapping[Item, float], depth: int = 10) -> float:
    """Normalised discounted cumulative gain with linear gain (Järvelin & Kekäläinen 2002), as in
    trec_eval and BEIR; 0 if nothing is relevant.

    Args:
        relevant: relevant items to their grades.
    """
    gained = sum(
        relevant.get(item, 0.0) / math.log2(rank + 1) for rank, item in enumerate(ranked[:depth], 1)
    )
    ideal = sorted(relevant.values(), reverse=True)[:depth]
    best = sum(grade / math.log2(rank + 1) for rank, grade in enumerate(ideal, 1))
    return gained / best if best else 0.0


def recall(ranked: Sequence[Item], relevant: Collection[Item], depth: int) -> float:
    """Share of the relevant items that are among the first `depth`; 0 if nothing is relevant."""
    return len(set(ranked[:depth]) & set(relevant)) / len(relevant) if relevant else 0.0


def reciprocal_rank(ranked: Sequence[Item], relevant: Collection[Item], depth: int = 10) -> float:
    """1 / rank of the first relevant item; 0 if none is among the first `depth`."""
    return next((1 / rank for rank, item in enumerate(ranked[:depth], 1) if item in relevant), 0.0)
