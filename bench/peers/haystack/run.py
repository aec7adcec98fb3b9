"""Haystack: splitter, embedder and writer into the in-memory store; embedder and retriever out.

hybrid: InMemoryBM25Retriever beside the embedding retriever, joined by reciprocal rank fusion.
Nothing is fetched: the default splitter counts words (only sentence splitting would need data).
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
from contract import passage_text, run

os.environ["HAYSTACK_TELEMETRY_ENABLED"] = "False"  # it would try the network


class HaystackPeer:
    def __init__(self, model: str, top: int, mode: str) -> None:  # long: two pipelines
        from haystack import Pipeline
        from haystack.components.joiners import DocumentJoiner
        from haystack.components.preprocessors import DocumentSplitter
        from haystack.components.retrievers.in_memory import (
            InMemoryBM25Retriever,
            InMemoryEmbeddingRetriever,
        )
        from haystack.components.writers import DocumentWriter
        from haystack.document_stores.in_memory import InMemoryDocumentStore
        from haystack_integrations.components.embedders.sentence_transformers import (
            SentenceTransformersDocumentEmbedder,
            SentenceTransformersTextEmbedder,
        )

        store, self.mode = InMemoryDocumentStore(), mode
        # No progress bars: the default draws one for every single query.
        self.indexing = Pipeline()
        self.indexing.add_component("splitter", DocumentSplitter())
        self.indexing.add_component(
            "embedder", SentenceTransformersDocumentEmbedder(model=model, progress_bar=False)
        )
        self.indexing.add_component("writer", DocumentWriter(store))
        self.indexing.connect("splitter", "embedder")
        self.indexing.connect("embedder", "writer")

        self.querying = Pipeline()
        self.querying.add_component(
            "embedder", SentenceTransformersTextEmbedder(model=model, progress_bar=False)
        )
        self.querying.add_component("dense", InMemoryEmbeddingRetriever(store, top_k=top))
        self.querying.connect("embedder.embedding", "dense.query_embedding")
        self.last = "dense"
        if mode == "hybrid":
            self.last = "joiner"
            self.querying.add_component("bm25", InMemoryBM25Retriever(store, top_k=top))
            self.querying.add_component(
                "joiner", DocumentJoiner(join_mode="reciprocal_rank_fusion", top_k=top)
            )
            self.querying.connect("dense", "joiner")
            self.querying.connect("bm25", "joiner")
        self.indexing.warm_up()
        self.querying.warm_up()

    def index(self, passages: list[dict[str, str]]) -> None:
        from haystack import Document

        documents = [Document(id=p["id"], content=passage_text(p)) for p in passages]
        self.indexing.run({"splitter": {"documents": documents}})

    def search(self, query: str) -> Iterable[str]:
        inputs = {"embedder": {"text": query}}
        if self.mode == "hybrid":
            inputs["bm25"] = {"query": query}
        found = self.querying.run(inputs)[self.last]["documents"]
        return [document.meta["source_id"] for document in found]


if __name__ == "__main__":
    run("haystack", "haystack-ai", HaystackPeer)
