"""Hybrid search: lexical and dense scores, fused, with access control.

The indexes may be outdated, and contain passages that the searcher may not see. So every hit is
checked against the store's current version and the filter, in one query, before it is used: hidden
passages are never returned. They still count in the IDF of terms, so BM25 scores alone can hint
that something is hidden.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from moli.models.encoders.cached import CachedEncoder
from moli.models.protocols.encoder import Encoder
from moli.records.answers import Fusion, Hit
from moli.retrieval.chinese import to_simplified
from moli.retrieval.dictionary import translated_query
from moli.retrieval.fuse import default_fusion, fuse, order
from moli.retrieval.indexes import Indexes
from moli.retrieval.tokens import Language, language_of, other_language
from moli.workspace import Workspace
from moli.workspace.filter import Filter

# Candidates from each index. The depth matters little above 100 and costs nothing below 300.
DEPTH = 300
# Up to this many visible passages, their ids are passed to the indexes.
_MAX_ALLOWED_IDS = 20_000

# A search of one index, from a limit and the allowed passage ids to scores by passage id.
SearchFunction = Callable[[int, Collection[int] | None], dict[int, float]]


@dataclass(frozen=True, slots=True)
class CandidateScores:
    """Scores by passage id of the lexical and the dense search, before fusion.

    Attributes:
        translated: scores of passages in the other language for the translated query.
        vector: the query's, if the dense index was searched.
    """

    lexical: dict[int, float]
    dense: dict[int, float]
    translated: dict[int, float] = field(default_factory=dict)
    vector: NDArray[np.float32] | None = None


class Retriever:
    """Hybrid search in a workspace."""

    def __init__(self, workspace: Workspace, encoder: Encoder) -> None:
        self.encoder = CachedEncoder(encoder)
        self.indexes = Indexes(workspace, encoder)
        self._passages = workspace.passages
        self._tunings = workspace.tunings
        self._languages_at = functools.lru_cache(maxsize=1)(self._languages_after)

    def search(
        self,
        query: str,
        limit: int = 10,
        visible: Filter | None = None,
        fusion: Fusion | None = None,
    ) -> list[Hit]:
        """The best passages for a query, best first.

        Args:
            visible: the documents that may be returned; None for those open to everyone.
            fusion: the method of fusing scores; None for the workspace's own, which depends on the
                languages of the query and of each passage.
        """
        visible = visible or Filter()
        language = language_of(query)
        native = fusion or self.fusion(language, language)
        foreign = fusion or self.fusion(language, other_language(language))
        scores = self.candidates(query, visible, (native, foreign))
        ranked = self._ranked(scores, native, foreign, other_language(language))[:limit]
        ids = [passage_id for passage_id, _ in ranked]
        passages = self._passages.get(ids, visible)
        dense = self._similarities(scores, ids)
        return [
            Hit(
                passage_id=passage_id,
                document_id=passage.document_id,
                source=passage.source,
                title=passage.title,
                heading=passage.heading,
                page=passage.page,
                time=passage.time,
                start=passage.start,
                end=passage.end,
                text=passage.text,
                score=score,
                lexical=scores.lexical.get(passage_id),
                dense=dense.get(passage_id),
            )
            for passage_id, score in ranked
            if (passage := passages.get(passage_id)) is not None
        ]

    def fusion(self, language: Language, passage_language: Language) -> Fusion:
        """The fusion for a query and passages in some languages, tuned or by default."""
        tuned = self._tunings.current(self.encoder.name, language, passage_language)
        return tuned or default_fusion(self.encoder, language, passage_language)

    def sources(self, passage_ids: Sequence[int]) -> dict[int, str]:
        """The source of each passage, for evaluation of search only: access is not checked."""
        unique = list(dict.fromkeys(passage_ids))
        passages = self._passages.get(unique, Filter(everything=True))
        return {passage_id: passage.source for passage_id, passage in passages.items()}

    def candidates(
        self, query: str, visible: Filter, fusions: Collection[Fusion]
    ) -> CandidateScores:
        """Scores of the best visible passages of each index.

        An index that has no weight in any fusion is not searched.
        """
        self.indexes.catch_up()
        lexical: dict[int, float] = {}
        translated: dict[int, float] = {}
        dense: dict[int, float] = {}
        vector = None
        own, other = language_of(query), other_language(language_of(query))
        if any(fusion.weight > 0 for fusion in fusions):
            by_words = partial(self.indexes.lexical.search, query)
            if not self._has_language(other):
                lexical = self._visible_scores(by_words, visible)
            else:
                lexical = self._visible_scores(by_words, replace(visible, language=own))
                groups = translated_query(query)
                by_translation = partial(self.indexes.lexical.search_synonyms, groups)
                translated = self._visible_scores(by_translation, replace(visible, language=other))
        if any(fusion.weight < 1 for fusion in fusions) and query.strip():
            vector = self.encoder.encode([to_simplified(query)], "query")[0]
            dense = self._visible_scores(partial(self.indexes.dense.search, vector), visible)
        return CandidateScores(lexical, dense, translated, vector)

    def _ranked(
        self, scores: CandidateScores, native: Fusion, foreign: Fusion, other: Language
    ) -> list[tuple[int, float]]:
        """Passage ids with fused scores, best first.

        Args:
            native, foreign: the fusions of passages in the query's and in the other language.
        """
        in_own = fuse(scores.lexical, scores.dense, native)
        if not self._has_language(other):
            return in_own
        others = {*scores.translated, *self._passages.ids_in_language(list(scores.dense), other)}
        in_other = fuse(scores.translated, scores.dense, foreign)
        ranked = [each for each in in_own if each[0] not in others]
        ranked += [each for each in in_other if each[0] in others]
        return sorted(ranked, key=order)

    def _has_language(self, language: Language) -> bool:
        """Whether a document is in a language; the store is asked when passages have changed."""
        return language in self._languages_at(self.indexes.lexical.applied)

    def _languages_after(self, change: int) -> frozenset[str]:  # noqa: ARG002 - the key of a cache
        """The languages of the documents after a change of passages."""
        return self._passages.languages()

    def _similarities(self, scores: CandidateScores, ids: Sequence[int]) -> dict[int, float]:
        """The dense scores of passages, also of those that only the lexical index returned.

        Evidence needs the similarity of each; there is none if the dense index was not searched.
        """
        if scores.vector is None:
            return {}
        return self.indexes.dense.search(scores.vector, len(ids), ids)

    def _visible_scores(self, search: SearchFunction, visible: Filter) -> dict[int, float]:
        """The scores of the best `DEPTH` visible passages of an index."""
        depth = DEPTH
        scores = search(depth, None)
        shown = self._only_visible(scores, visible)
        if len(shown) < DEPTH and len(scores) == depth:
            # Some were hidden and there are more: search only among visible passages.
            allowed_ids = self._passages.all_visible_ids(visible)
            if len(allowed_ids) <= _MAX_ALLOWED_IDS:
                return self._only_visible(search(DEPTH, allowed_ids), visible)
            while len(shown) < DEPTH and len(scores) == depth:
                depth *= 4
                scores = search(depth, None)
                shown = self._only_visible(scores, visible)
        return dict(list(shown.items())[:DEPTH])

    def _only_visible(self, scores: dict[int, float], visible: Filter) -> dict[int, float]:
        """The scores of passages that exist and match the filter."""
        ids = self._passages.visible_ids(list(scores), visible)
        return {passage_id: score for passage_id, score in scores.items() if passage_id in ids}
