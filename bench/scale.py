"""Growth of time, memory and disk with the number of passages: a table in Markdown.

Use: make bench-scale    (or: python bench/scale.py --sizes 10000 100000 1000000)

Passages are synthetic: words drawn by Zipf's law, and vectors drawn around 1,000 centres, as an
encoder would give them. The encoder's own time is left out here; bench/retrieval.py has it.
Recall of the dense side is against an exact scan with the same vectors.
"""

from __future__ import annotations

import argparse
import hashlib
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from moli.retrieval.indexes import Indexes
from moli.retrieval.ingest import Ingester, SourceDocument, source_from_text
from moli.retrieval.search import Retriever
from moli.workspace import Workspace

WORDS = 50
VOCABULARY = 200_000
CENTRES = 1_000
QUERIES = 300


class ClusteredEncoder:
    """Vectors around random centres, each a function of its text alone."""

    name = "scripted:clustered"
    dimensions = 384

    def __init__(self) -> None:
        self._centres = np.random.default_rng(0).standard_normal((CENTRES, self.dimensions))

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        vectors = np.empty((len(texts), self.dimensions), np.float32)
        for row, text in enumerate(texts):
            seed = int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest(), "little")
            generator = np.random.default_rng(seed)
            centre = self._centres[seed % CENTRES]
            vectors[row] = centre + generator.standard_normal(self.dimensions, np.float32)
        return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def sources(count: int) -> Iterator[SourceDocument]:
    """`count` documents of one passage each."""
    generator = np.random.default_rng(1)
    for number in range(count):
        words = generator.zipf(1.3, WORDS) % VOCABULARY
        yield source_from_text(f"d{number}", " ".join(f"w{word}" for word in words))


def measure(count: int, folder: Path) -> str:
    """A row of the table, measured in a workspace with `count` passages."""
    encoder = ClusteredEncoder()
    with Workspace.init(folder) as workspace:
        begun = time.perf_counter()
        for _ in Ingester(workspace, encoder).add_documents(sources(count)):
            pass
        stored = time.perf_counter() - begun
        indexes = Indexes(workspace, encoder)
        begun = time.perf_counter()
        indexes.catch_up(timeout=600)
        indexes.save()
        indexed = time.perf_counter() - begun
        del indexes
        begun = time.perf_counter()
        retriever = Retriever(workspace, encoder)
        retriever.indexes.catch_up()
        opened = time.perf_counter() - begun
        times = query_times(retriever)
        recall = dense_recall(workspace, retriever, encoder)
    database = sum(path.stat().st_size for path in (folder / ".moli").glob("moli.db*"))
    index = sum(p.stat().st_size for p in (folder / ".moli/cache").rglob("*") if p.is_file())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    p50, p95 = np.percentile(times, [50, 95])
    return (
        f"| {count:,} | {stored:.1f} | {indexed:.1f} | {opened:.2f} | {p50:.1f} | {p95:.1f} "
        f"| {recall:.3f} | {database / 2**20:,.0f} | {index / 2**20:,.0f} | {peak:,.0f} |"
    )


def query_times(retriever: Retriever) -> list[float]:
    """Milliseconds of whole searches, query encoding by the synthetic encoder included."""
    generator = np.random.default_rng(2)
    times = []
    for number in range(QUERIES + 10):
        query = " ".join(f"w{word}" for word in generator.zipf(1.3, 12) % VOCABULARY)
        begun = time.perf_counter()
        retriever.search(query, 10)
        if number >= 10:  # the first ones warm up
            times.append((time.perf_counter() - begun) * 1000)
    return times


def dense_recall(workspace: Workspace, retriever: Retriever, encoder: ClusteredEncoder) -> float:
    """Share of the exact ten nearest that the index returns among its first ten."""
    queries = encoder.encode([f"query {number}" for number in range(100)])
    best: list[list[tuple[float, int]]] = [[] for _ in queries]
    last = workspace.passages.changes(0, 1 << 60)[-1].last_passage
    for first in range(1, last + 1, 50_000):
        ids, vectors = workspace.passages.vectors(encoder.name, first, first + 49_999)
        similar = queries @ vectors.T
        for row, values in enumerate(similar):
            top = np.argsort(-values)[:10]
            best[row] = sorted(best[row] + [(-values[i], ids[i]) for i in top])[:10]
    hits = 0
    for vector, truth in zip(queries, best, strict=True):
        hits += len(set(retriever.indexes.dense.search(vector, 10)) & {int(n) for _, n in truth})
    return hits / (10 * len(queries))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        with tempfile.TemporaryDirectory() as folder:
            print(measure(args.one, Path(folder)), flush=True)
        return
    print(
        "| passages | store s | index s | open s | p50 ms | p95 ms | dense recall@10 "
        "| database MiB | indexes MiB | peak MiB |\n|---|---|---|---|---|---|---|---|---|---|",
        flush=True,
    )
    for size in args.sizes:
        # A process each, so that the peak of memory is its own.
        subprocess.run([sys.executable, __file__, "--one", str(size)], check=True)


if __name__ == "__main__":
    main()
