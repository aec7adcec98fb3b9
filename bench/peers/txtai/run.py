"""txtai: one Embeddings index with its defaults (no splitting, no stored content, Faiss).

hybrid: the same with hybrid=True, which adds its own BM25 and mixes the two scores half and half.
txtai runs the encoder by itself, by transformers, and reads up to the tokenizer's 512 tokens of a
passage, where sentence-transformers stops at the 256 that the model's own file names.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
from contract import passage_text, run


class TxtaiPeer:
    def __init__(self, model: str, top: int, mode: str) -> None:
        from txtai import Embeddings

        self.top = top
        self.embeddings = Embeddings(path=model, hybrid=mode == "hybrid")

    def index(self, passages: list[dict[str, str]]) -> None:
        self.embeddings.index((p["id"], passage_text(p)) for p in passages)

    def search(self, query: str) -> Iterable[str]:
        return [uid for uid, _ in self.embeddings.search(query, self.top)]

    def search_many(self, queries: list[str]) -> Iterable[Iterable[str]]:
        found = self.embeddings.batchsearch(queries, self.top)
        return [[uid for uid, _ in rows] for rows in found]


if __name__ == "__main__":
    run("txtai", "txtai", TxtaiPeer)
