"""LlamaIndex: VectorStoreIndex with its default splitter, batches and in-memory store.

hybrid: QueryFusionRetriever over that index and BM25Retriever, with no generated queries.
Nothing is fetched: the wheel carries the tokenizer and sentence data that the splitter needs.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).parents[1]))
from contract import passage_text, run


class LlamaIndexPeer:
    def __init__(self, model: str, top: int, mode: str) -> None:
        from llama_index.core import Settings, VectorStoreIndex
        from llama_index.embeddings.huggingface import HuggingFaceEmbedding

        Settings.embed_model = HuggingFaceEmbedding(model_name=model)
        self.index_class, self.top, self.mode = VectorStoreIndex, top, mode

    def index(self, passages: list[dict[str, str]]) -> None:
        from llama_index.core import Document

        # The id goes in as the document's id, not as metadata: metadata would be embedded too.
        documents = [Document(text=passage_text(p), doc_id=p["id"]) for p in passages]
        index = self.index_class.from_documents(documents)
        self.retriever = index.as_retriever(similarity_top_k=self.top)
        if self.mode == "hybrid":
            self.retriever = self.fusion(index)

    def fusion(self, index: Any) -> Any:
        from llama_index.core.llms import MockLLM
        from llama_index.core.retrievers import QueryFusionRetriever
        from llama_index.retrievers.bm25 import BM25Retriever

        bm25 = BM25Retriever.from_defaults(docstore=index.docstore, similarity_top_k=self.top)
        return QueryFusionRetriever(
            [self.retriever, bm25],
            similarity_top_k=self.top,
            num_queries=1,  # the query as it is, with none generated, so that no LLM is called
            mode="reciprocal_rerank",  # the documentation's; the default mixes unlike scores
            llm=MockLLM(),  # never called; without one the constructor looks for a hosted one
        )

    def search(self, query: str) -> Iterable[str]:
        return [node.node.ref_doc_id for node in self.retriever.retrieve(query)]


if __name__ == "__main__":
    run("llamaindex", "llama-index-core", LlamaIndexPeer)
