"""Hybrid search: words and meaning, fused, with access checked inside.

Both indexes may lag behind the store or know of what the searcher may not see. So every hit is
checked against the store, live version and filter in one query, before it counts for anything:
what is hidden is never returned. It still counts in the rarity of words, so BM25 scores alone can
hint that something is hidden.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass

from moli.models.protocols.encoder import Encoder
from moli.records.answers import Fusion, Hit
from moli.retrieval.fuse import DEFAULTS, fuse
from moli.retrieval.indexes import Indexes
from moli.retrieval.tokens import Language, language_of
from moli.workspace import Workspace
from moli.workspace.filter import Filter

# Candidates from each side. The depth matters little above 100 and costs nothing below 300.
DEPTH = 300
# Up to this many visible passages, the filter is pushed down into the indexes.
_PUSH_DOWN = 20_000

Side = Callable[[int, Collection[int] | None], dict[int, float]]


@dataclass(frozen=True, slots=True)
class Candidates:
    """What both sides found, before fusion."""

    lexical: dict[int, float]
    dense: dict[int, float]


class Retriever:
    """Search over a workspace."""

    def __init__(self, workspace: Workspace, encoder: Encoder) -> None:
        self.encoder = encoder
        self.indexes = Indexes(workspace, encoder)
        self._passages = workspace.passages
        self._tunings = workspace.tunings

    def search(
        self,
        query: str,
        limit: int = 10,
        visible: Filter | None = None,
        fusion: Fusion | None = None,
    ) -> list[Hit]:
        """The best passages for a query, best first.

        Args:
            visible: what may be seen; by default, what is open to everyone.
            fusion: how to join both sides; by default, what the workspace is tuned to.
        """
        visible = visible or Filter()
        fusion = fusion or self.fusion(language_of(query))
        found = self.candidates(query, visible, fusion)
        ranked = fuse(found.lexical, found.dense, fusion)[:limit]
        shown = self._passages.get([number for number, _ in ranked], visible)
        return [
            Hit(
                passage_id=number,
                document_id=passage.document_id,
                source=passage.source,
                title=passage.title,
                heading=passage.heading,
                page=passage.page,
                start=passage.start,
                end=passage.end,
                text=passage.text,
                score=score,
                lexical=found.lexical.get(number),
                dense=found.dense.get(number),
            )
            for number, score in ranked
            if (passage := shown.get(number)) is not None
        ]

    def fusion(self, language: Language) -> Fusion:
        """What this workspace is tuned to, or the default for the language."""
        return self._tunings.current(language) or DEFAULTS[language]

    def sources(self, passage_ids: Sequence[int]) -> dict[int, str]:
        """The source of each passage, for measuring search; not for answering."""
        unique = list(dict.fromkeys(passage_ids))
        found = self._passages.get(unique, Filter(everything=True))
        return {number: passage.source for number, passage in found.items()}

    def candidates(self, query: str, visible: Filter, fusion: Fusion) -> Candidates:
        """What each side finds among what may be seen; a side without weight is not asked."""
        self.indexes.catch_up()
        lexical: dict[int, float] = {}
        dense: dict[int, float] = {}
        if fusion.weight > 0:
            lexical = self._visible(
                lambda limit, within: self.indexes.lexical.search(query, limit, within), visible
            )
        if fusion.weight < 1 and query.strip():
            vector = self.encoder.encode([query])[0]
            dense = self._visible(
                lambda limit, within: self.indexes.dense.search(vector, limit, within), visible
            )
        return Candidates(lexical, dense)

    def _visible(self, side: Side, visible: Filter) -> dict[int, float]:
        """The best `DEPTH` hits of a side that the filter shows."""
        depth = DEPTH
        found = side(depth, None)
        shown = self._shown(found, visible)
        if len(shown) < DEPTH and len(found) == depth:
            # Some were hidden and there are more: look only among what may be seen.
            allowed = self._passages.all_visible_ids(visible)
            if len(allowed) <= _PUSH_DOWN:
                return self._shown(side(DEPTH, allowed), visible)
            while len(shown) < DEPTH and len(found) == depth:
                depth *= 4
                found = side(depth, None)
                shown = self._shown(found, visible)
        return dict(list(shown.items())[:DEPTH])

    def _shown(self, found: dict[int, float], visible: Filter) -> dict[int, float]:
        live = self._passages.visible_ids(list(found), visible)
        return {number: score for number, score in found.items() if number in live}
