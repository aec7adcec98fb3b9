"""Moli, measured by the same contract as its peers: a real workspace with database and indexes.

hybrid is its default (both sides, fused as the language's default says); "default" mode is the
encoder alone, to compare with peers that search by the encoder alone, and "lexical" the words
alone: the fused result must not fall behind the better of these two.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

sys.path.append(str(Path(__file__).parents[1]))
from contract import ENCODER_FOLDER, passage_text, run


class MoliPeer:
    def __init__(self, _model: str, top: int, mode: str) -> None:
        from moli.models.encoders.load import load_encoder
        from moli.records.answers import Fusion
        from moli.retrieval.search import Retriever
        from moli.workspace import Workspace

        self.top = top
        weight = {"default": 0.0, "lexical": 1.0}.get(mode)
        self.fusion = None if weight is None else Fusion("minmax", weight)
        self.folder = tempfile.TemporaryDirectory()
        self.workspace = Workspace.init(Path(self.folder.name))
        known = Path(os.environ.get(ENCODER_FOLDER, "builtin:minilm")).name
        self.encoder = load_encoder(known)
        self.retriever = Retriever(self.workspace, self.encoder)

    def index(self, passages: list[dict[str, str]]) -> None:
        from moli.retrieval.ingest import Ingester, source_from_text

        sources = (source_from_text(each["id"], passage_text(each)) for each in passages)
        for _ in Ingester(self.workspace, self.encoder).add_documents(sources):
            pass
        self.retriever.indexes.catch_up()
        self.retriever.indexes.save()

    def search(self, query: str) -> Iterable[str]:
        return [hit.source for hit in self.retriever.search(query, 2 * self.top, None, self.fusion)]


if __name__ == "__main__":
    run("moli", "moli", MoliPeer)
