"""The lexical index: BM25 over the terms of `tokens`.

tantivy selects the candidates. Its own scores count removed passages until it merges them away, so
the candidates are scored again with statistics of the passages that are there: what was removed, or
the order in which passages came, changes no score.
"""

from __future__ import annotations

import functools
import hashlib
import math
import os
import shutil
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import tantivy
from numpy.typing import NDArray
from tantivy import FieldType, Occur, Query

from moli.records.documents import Change
from moli.records.file_names import file_name_text
from moli.retrieval.tokens import TERMS_VERSION, query_terms, tokenize
from moli.workspace.passages import PassageStore

# Okapi BM25's parameters, as Lucene and tantivy have them.
_K1 = 1.2
_B = 0.75
# tantivy's order differs from the exact one, so it is asked for more candidates than are returned.
_MARGIN = 100
_WRITER_BYTES = 128 << 20
# Passage ids begin at 1. Document 0 of the index stores the number of the last change that was
# applied, and is written in the same commit as that change.
_MARKER_ID = 0
# Terms that mean the same, at least one.
Synonyms = tuple[str, ...]
# An index with terms of another version has another schema, and is made again.
_TERMS = f"terms{TERMS_VERSION}"


class LexicalIndex:
    """BM25 over passages, in files below `folder` that can be deleted at any time.

    Attributes:
        applied: number of the last change in the change log that was applied.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._schema = _schema()
        self._open()

    def _open(self) -> None:
        """Load the index; a damaged one is erased and created anew."""
        try:
            self._load()
        except ValueError:  # damaged, or written with another schema: it is only derived
            self._erase()
            self._load()

    def _load(self) -> None:
        """Load the index in the folder, or create an empty one."""
        self._folder.mkdir(parents=True, exist_ok=True)
        self._index = tantivy.Index(self._schema, file_name_text(self._folder))
        self.reload()

    def reload(self) -> None:
        """Load what other processes have committed to the index since it was last loaded."""
        self._index.reload()
        self._snapshot = _Snapshot(self._schema, self._index.searcher())
        self.applied = self._snapshot.applied

    def __len__(self) -> int:
        return self._snapshot.passages

    def apply(self, changes: Sequence[Change], passages: PassageStore) -> None:
        """Apply changes in order and commit them with the number of the last.

        A range is deleted before it is added, so applying a change twice does no harm. The caller
        holds the lock of the index.
        """
        writer = self._index.writer(_WRITER_BYTES, 1)
        for change in changes:
            first, last = change.first_passage, change.last_passage
            span = Query.range_query(self._schema, "passage", FieldType.Integer, first, last)
            writer.delete_documents_by_query(span)
            if change.kind == "add":
                for passage in passages.range(first, last):
                    writer.add_document(_document(passage.id, tokenize(passage.text_with_context)))
        writer.delete_documents_by_query(Query.term_query(self._schema, "passage", _MARKER_ID))
        writer.add_document(tantivy.Document(passage=_MARKER_ID, applied=changes[-1].seq))
        writer.commit()
        writer.wait_merging_threads()
        self.reload()

    def search(
        self, query: str, limit: int, allowed_ids: Collection[int] | None = None
    ) -> dict[int, float]:
        """BM25 scores by id of the best `limit` passages with a term of the query, best first.

        Args:
            allowed_ids: only these passages may be returned; None for all.
        """
        return self.search_synonyms([(term,) for term in query_terms(query)], limit, allowed_ids)

    def search_synonyms(
        self,
        groups: Sequence[Synonyms],
        limit: int,
        allowed_ids: Collection[int] | None = None,
    ) -> dict[int, float]:
        """The scores of `search`, for groups of terms that each count as one term.

        So the many translations of a common word count no more than the one of a rare word
        (Pirkola 1998).
        """
        snapshot = self._snapshot
        counted = Counter(groups)
        if not counted or limit < 1:
            return {}
        candidates = snapshot.candidates(counted, limit + _MARGIN, allowed_ids)
        if not candidates.ids:
            return {}
        scores = snapshot.bm25(counted, candidates)
        ranked = sorted(zip((-scores).tolist(), candidates.ids, strict=True))
        return {passage_id: -negative for negative, passage_id in ranked[:limit]}

    def clear(self) -> None:
        """Erase the index and its files; the next `apply` starts with an empty one."""
        self._erase()
        self._open()

    def _erase(self) -> None:
        """Delete the index's files."""
        # Renamed first: an open index notices a deletion, and its lock file would interfere.
        name = self._folder.name
        self._folder.rename(self._folder.with_name(f"{name}.{os.getpid()}.erased"))
        for renamed in self._folder.parent.glob(f"{name}.*.erased"):
            shutil.rmtree(renamed, ignore_errors=True)


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Passages that have a term of a query, with their numbers of terms, and `_term_counts`."""

    ids: list[int]
    lengths: list[int]
    counts: list[NDArray[np.uint64]]


class _Snapshot:
    """The index at one commit, and statistics of the passages that it has then.

    Attributes:
        applied: number of the last change in the change log that was applied.
        passages: number of passages.
        average_length: their mean number of terms.
    """

    def __init__(self, schema: tantivy.Schema, searcher: tantivy.Searcher) -> None:
        self._schema = schema
        self._searcher = searcher
        marker = searcher.search(self._passage_query([_MARKER_ID]), 1).hits
        self.applied = int(searcher.doc(marker[0][1])["applied"][0]) if marker else 0
        self.passages = int(searcher.num_docs) - len(marker)
        total = searcher.aggregate(Query.all_query(), {"total": {"sum": {"field": "length"}}})
        self.average_length = total["total"]["value"] / max(self.passages, 1)
        self.count = functools.lru_cache(maxsize=100_000)(self._count)

    def _passage_query(self, passage_ids: Collection[int]) -> Query:
        """The query for passages with these ids."""
        return Query.term_set_query(self._schema, "passage", list(passage_ids))

    def _term_query(self, synonyms: Synonyms) -> Query:
        """The query for passages with one of some terms."""
        queries = [Query.term_query(self._schema, _TERMS, term) for term in synonyms]
        return queries[0] if len(queries) == 1 else Query.disjunction_max_query(queries)

    def _count(self, synonyms: Synonyms) -> int:
        """Number of passages with one of the terms; tantivy's own figure includes removed ones."""
        result: Any = self._searcher.search(self._term_query(synonyms), 1, count=True)
        return int(result.count or 0)  # The result's type omits the count.

    def idf(self, synonyms: Synonyms) -> float:
        """Inverse document frequency of terms that count as one, as in BM25."""
        count = self.count(synonyms)
        return math.log(1 + (self.passages - count + 0.5) / (count + 0.5))

    def candidates(
        self, groups: Collection[Synonyms], limit: int, allowed_ids: Collection[int] | None
    ) -> _Candidates:
        """The `limit` passages that tantivy ranks first.

        Args:
            allowed_ids: only these passages may be returned; None for all.
        """
        query = Query.boolean_query([(Occur.Should, self._term_query(each)) for each in groups])
        if allowed_ids is not None:
            allowed = Query.const_score_query(self._passage_query(allowed_ids), 0.0)
            query = Query.boolean_query([(Occur.Must, query), (Occur.Must, allowed)])
        hits = self._searcher.search(query, limit, count=False).hits
        # In the order of the file, in which neighbors are unpacked together.
        addresses = sorted((hit[1] for hit in hits), key=lambda each: (each.segment_ord, each.doc))
        ids = self._searcher.fast_field_values("passage", addresses)
        lengths = self._searcher.fast_field_values("length", addresses)
        counts = [
            np.frombuffer(self._searcher.doc(address)["counts"][0], "<u8") for address in addresses
        ]
        return _Candidates([int(id_ or 0) for id_ in ids], [int(n or 0) for n in lengths], counts)

    def bm25(self, groups: Mapping[Synonyms, int], candidates: _Candidates) -> NDArray[np.float64]:
        """BM25 scores of one or more passages (Robertson & Zaragoza 2009), [passages].

        Args:
            groups: terms of the query that count as one, with their occurrences there.
        """
        weights = np.array([self.idf(synonyms) * count for synonyms, count in groups.items()])
        keys = np.array([_term_key(term) for synonyms in groups for term in synonyms], np.uint64)
        starts = np.cumsum([0, *map(len, groups)])[:-1]
        of_terms = np.array([_frequencies(keys, counts) for counts in candidates.counts])
        frequencies = np.add.reduceat(of_terms, starts, axis=1)  # [passages, groups]
        relative_lengths = np.array(candidates.lengths)[:, None] / self.average_length
        norms = _K1 * (1 - _B + _B * relative_lengths)
        gains = (_K1 + 1) * frequencies / (frequencies + norms)  # [passages, groups]
        # Not `gains @ weights`: how BLAS rounds a row depends on how many there are.
        scores: NDArray[np.float64] = np.einsum("ij,j->i", gains, weights)
        return scores


def _document(passage_id: int, terms: Sequence[str]) -> tantivy.Document:
    """A passage as the index stores it."""
    counts = _term_counts(terms).tobytes()
    fields = {_TERMS: " ".join(terms), "counts": counts}
    return tantivy.Document(passage=passage_id, length=len(terms), **fields)


def _term_counts(terms: Sequence[str]) -> NDArray[np.uint64]:
    """The distinct terms of a passage with their occurrences, in order of their keys, [terms].

    tantivy has the occurrences as well, but does not tell them. The lowest 8 bits are the
    occurrences, at most 255, and those above are the term's key.
    """
    counts = [_term_key(term) | min(count, 255) for term, count in Counter(terms).items()]
    return np.sort(np.array(counts, "<u8"))


def _frequencies(keys: NDArray[np.uint64], counts: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The occurrences of terms in a passage, [keys]; 0 for one that it does not have.

    Args:
        counts: the passage's `_term_counts`, at least one.
    """
    nearest = counts[np.minimum(np.searchsorted(counts, keys), len(counts) - 1)]
    difference = nearest - keys  # wraps around below the key, and is large then
    return np.where(difference < 256, difference, 0)


@functools.lru_cache(maxsize=200_000)
def _term_key(term: str) -> int:
    """A hash of a term, 56 bits with 8 zeros below them."""
    return int.from_bytes(hashlib.blake2b(term.encode(), digest_size=7).digest(), "big") << 8


def _schema() -> tantivy.Schema:
    """The fields of the index: of a passage its id, its terms and their number.

    One document has only the number of the last change that was applied.
    """
    builder = tantivy.SchemaBuilder()
    builder.add_integer_field("passage", stored=False, indexed=True, fast=True)
    builder.add_integer_field("length", stored=False, indexed=False, fast=True)
    builder.add_bytes_field("counts", stored=True, indexed=False, fast=False)
    builder.add_integer_field("applied", stored=True)
    builder.add_text_field(_TERMS, tokenizer_name="whitespace", index_option="freq")
    return builder.build()
