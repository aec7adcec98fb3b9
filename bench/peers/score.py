"""Recall@1, @5, @20 and nDCG@10 of ranked passage ids against relevance judgements.

Use: python bench/peers/score.py QRELS.tsv OUT.json...   (a line for each file)
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from moli.metrics.ranking import ndcg, recall

Qrels = Mapping[str, Mapping[str, int]]


def score(results: Mapping[str, Sequence[str]], qrels: Qrels) -> dict[str, float]:
    """Means over the judged queries; one with no result counts as 0, one not judged not at all.

    >>> score({"q": ["a", "b"], "unjudged": ["a"]}, {"q": {"b": 1}, "lost": {"a": 1}})["recall@5"]
    0.5
    """
    judged = {query: grades for query, grades in qrels.items() if any(grades.values())}
    if not judged:
        raise ValueError("no query has a relevant passage, so there is nothing to score")

    def found(query: str, depth: int) -> float:
        relevant = {passage for passage, grade in judged[query].items() if grade > 0}
        return recall(results.get(query, ()), relevant, depth)

    def gain(query: str) -> float:
        return ndcg(results.get(query, ()), judged[query], 10)

    count = len(judged)
    scores = {f"recall@{k}": sum(found(query, k) for query in judged) / count for k in (1, 5, 20)}
    return scores | {"ndcg@10": sum(map(gain, judged)) / count}


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
