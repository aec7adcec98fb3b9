"""Recall@1, @5, @20 and nDCG@10 of ranked passage ids against relevance judgements.

Use: python bench/peers/score.py QRELS.tsv OUT.json...   (a line for each file)
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Mapping, Sequence
from math import log2
from pathlib import Path

Qrels = Mapping[str, Mapping[str, int]]
Measure = Callable[[Sequence[str], Mapping[str, int], int], float]


def recall(ranked: Sequence[str], grades: Mapping[str, int], k: int) -> float:
    """Share of the relevant passages (grade above 0) that are among the first k.

    >>> recall(["a", "b", "c"], {"b": 1, "z": 2, "c": 0}, 2)
    0.5
    """
    relevant = {passage for passage, grade in grades.items() if grade > 0}
    return len(relevant.intersection(ranked[:k])) / len(relevant)


def ndcg(ranked: Sequence[str], grades: Mapping[str, int], k: int) -> float:
    """Gain of the first k, each grade divided by log2(rank + 1), over that of the best order.

    By hand: with a graded 3 and c graded 1, the ranking b, a, c gains at ranks 2 and 3
        3 / log2(3) + 1 / log2(4) = 1.892789 + 0.5      = 2.392789
    and the best order, a, c, gains at ranks 1 and 2
        3 / log2(2) + 1 / log2(3) = 3        + 0.630930 = 3.630930
    so the nDCG is 2.392789 / 3.630930 = 0.659002; cut at 2, where c is lost, 1.892789 / 3.630930.

    >>> round(ndcg(["b", "a", "c"], {"a": 3, "c": 1}, 10), 6)
    0.659002
    >>> round(ndcg(["b", "a", "c"], {"a": 3, "c": 1}, 2), 6)
    0.521296
    >>> ndcg(["a", "c"], {"a": 3, "c": 1}, 10), ndcg([], {"a": 3}, 10)
    (1.0, 0.0)
    """
    gains = [grades.get(passage, 0) for passage in ranked[:k]]
    best = sorted(grades.values(), reverse=True)[:k]
    return discounted(gains) / discounted(best)


def discounted(gains: Sequence[int]) -> float:
    return sum(gain / log2(rank + 1) for rank, gain in enumerate(gains, start=1))


def score(results: Mapping[str, Sequence[str]], qrels: Qrels) -> dict[str, float]:
    """Means over the judged queries; one with no result counts as 0, one not judged not at all.

    >>> score({"q": ["a", "b"], "unjudged": ["a"]}, {"q": {"b": 1}, "lost": {"a": 1}})["recall@5"]
    0.5
    """
    judged = {query: grades for query, grades in qrels.items() if any(grades.values())}
    if not judged:
        raise ValueError("no query has a relevant passage, so there is nothing to score")

    def mean(measure: Measure, k: int) -> float:
        return sum(measure(results.get(q, ()), g, k) for q, g in judged.items()) / len(judged)

    return {f"recall@{k}": mean(recall, k) for k in (1, 5, 20)} | {"ndcg@10": mean(ndcg, 10)}


def read_qrels(path: Path) -> dict[str, dict[str, int]]:
    qrels: dict[str, dict[str, int]] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        query, passage, grade = line.split("\t")
        qrels.setdefault(query, {})[passage] = int(grade)
    return qrels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("qrels", type=Path, metavar="QRELS.tsv")
    parser.add_argument("outs", type=Path, nargs="+", metavar="OUT.json")
    args = parser.parse_args()
    qrels = read_qrels(args.qrels)
    for path in args.outs:
        out = json.loads(path.read_text(encoding="utf-8"))
        scores = {name: round(value, 4) for name, value in score(out.pop("results"), qrels).items()}
        kept = ("peer", "version", "mode", "index_rate", "query_ms", "peak_rss_mb")
        print(json.dumps({key: out[key] for key in kept if key in out} | scores))


if __name__ == "__main__":
    main()
