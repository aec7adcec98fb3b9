"""The lexical index: BM25 in tantivy over the terms of `tokens`."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import tantivy
from tantivy import FieldType, Occur, Query

from moli.records.documents import Change
from moli.records.file_names import file_name_text
from moli.retrieval.tokens import TERMS_VERSION, query_terms, tokenize
from moli.workspace.passages import PassageStore

_WRITER_BYTES = 128 << 20
# Passage ids begin at 1. Document 0 of the index stores the number of the last change that was
# applied, and is written in the same commit as that change.
_MARKER_ID = 0
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
        self._searcher = self._index.searcher()
        marker = self._searcher.search(
            Query.term_query(self._schema, "passage", _MARKER_ID), 1
        ).hits
        self.applied = self._searcher.doc(marker[0][1])["applied"][0] if marker else 0

    def __len__(self) -> int:
        return int(self._searcher.num_docs) - (1 if self.applied else 0)

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
                    terms = " ".join(tokenize(passage.text_with_context))
                    writer.add_document(tantivy.Document(passage=passage.id, **{_TERMS: terms}))
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
        terms = [Query.term_query(self._schema, _TERMS, term) for term in query_terms(query)]
        if not terms or limit < 1:
            return {}
        bm25_query = Query.boolean_query([(Occur.Should, term) for term in terms])
        if allowed_ids is not None:
            allowed = Query.term_set_query(self._schema, "passage", list(allowed_ids))
            bm25_query = Query.boolean_query(
                [(Occur.Must, bm25_query), (Occur.Must, Query.const_score_query(allowed, 0.0))]
            )
        hits = self._searcher.search(bm25_query, limit, count=False).hits
        numbers = self._searcher.fast_field_values("passage", [address for _, address in hits])
        return {int(n): score for n, (score, _) in zip(numbers, hits, strict=True) if n}

    def has_term(self, term: str) -> bool:
        """Whether a passage has the term."""
        return self._count(term) > 0

    def idf(self, terms: Collection[str]) -> dict[str, float]:
        """Inverse document frequency of each distinct term, as in BM25."""
        total = len(self)
        counts = {term: self._count(term) for term in set(terms)}
        return {
            term: math.log(1 + (max(total - count, 0) + 0.5) / (count + 0.5))
            for term, count in counts.items()
        }

    def _count(self, term: str) -> int:
        """Number of passages with a term; the index's own figure includes removed ones."""
        query = Query.term_query(self._schema, _TERMS, term)
        result: Any = self._searcher.search(query, 1, count=True)  # Its type omits the count.
        return int(result.count or 0)

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


def _schema() -> tantivy.Schema:
    """The fields of the index: passage id, terms, and for one document the last change applied."""
    builder = tantivy.SchemaBuilder()
    builder.add_integer_field("passage", stored=False, indexed=True, fast=True)
    builder.add_integer_field("applied", stored=True)
    builder.add_text_field(_TERMS, tokenizer_name="whitespace", index_option="freq")
    return builder.build()
