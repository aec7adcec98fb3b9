"""The lexical index: BM25 in tantivy over the terms of `tokens`."""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Collection, Sequence
from pathlib import Path

import tantivy
from tantivy import FieldType, Occur, Query

from moli.records.documents import Change
from moli.retrieval.tokens import query_terms, tokenize
from moli.workspace.passages import PassageStore

_WRITER_BYTES = 128 << 20
# Passage numbers begin at 1. Passage 0 is the index's own note of the last change it has applied,
# written in the same commit as that change.
_NOTE = 0


class LexicalIndex:
    """BM25 over passages, in files below `folder` that can be deleted at any time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._schema = _schema()
        self._open()

    def _open(self) -> None:
        try:
            self._load()
        except ValueError:  # damaged, or written with another schema: it is only derived
            self._erase()
            self._load()

    def _load(self) -> None:
        self._folder.mkdir(parents=True, exist_ok=True)
        self._index = tantivy.Index(self._schema, str(self._folder))
        self.reload()

    def reload(self) -> None:
        """See what other processes have committed."""
        self._index.reload()
        self._searcher = self._index.searcher()
        note = self._searcher.search(Query.term_query(self._schema, "passage", _NOTE), 1).hits
        self.applied = self._searcher.doc(note[0][1])["applied"][0] if note else 0

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
                    writer.add_document(tantivy.Document(passage=passage.id, terms=terms))
        writer.delete_documents_by_query(Query.term_query(self._schema, "passage", _NOTE))
        writer.add_document(tantivy.Document(passage=_NOTE, applied=changes[-1].seq))
        writer.commit()
        writer.wait_merging_threads()
        self.reload()

    def search(
        self, query: str, limit: int, within: Collection[int] | None = None
    ) -> dict[int, float]:
        """BM25 scores of at most `limit` passages that share a term with the query, best first.

        Args:
            within: only these passages may be returned.
        """
        terms = [Query.term_query(self._schema, "terms", term) for term in query_terms(query)]
        if not terms or limit < 1:
            return {}
        wanted = Query.boolean_query([(Occur.Should, term) for term in terms])
        if within is not None:
            allowed = Query.term_set_query(self._schema, "passage", list(within))
            wanted = Query.boolean_query(
                [(Occur.Must, wanted), (Occur.Must, Query.const_score_query(allowed, 0.0))]
            )
        hits = self._searcher.search(wanted, limit, count=False).hits
        numbers = self._searcher.fast_field_values("passage", [address for _, address in hits])
        return {int(n): score for n, (score, _) in zip(numbers, hits, strict=True) if n}

    def rarity(self, terms: Collection[str]) -> dict[str, float]:
        """Inverse document frequency of each distinct term, as in BM25."""
        total = len(self)
        counts = {term: self._searcher.doc_freq("terms", term) for term in set(terms)}
        return {
            # A count may include removed passages until their segment is merged.
            term: math.log(1 + (max(total - count, 0) + 0.5) / (count + 0.5))
            for term, count in counts.items()
        }

    def clear(self) -> None:
        """Erase the files; the next `apply` starts from nothing."""
        self._erase()
        self._open()

    def _erase(self) -> None:
        # Moved away first: an open index notices a deletion, and its lock file would interfere.
        name = self._folder.name
        self._folder.rename(self._folder.with_name(f"{name}.{os.getpid()}.erased"))
        for aside in self._folder.parent.glob(f"{name}.*.erased"):
            shutil.rmtree(aside, ignore_errors=True)


def _schema() -> tantivy.Schema:
    builder = tantivy.SchemaBuilder()
    builder.add_integer_field("passage", stored=False, indexed=True, fast=True)
    builder.add_integer_field("applied", stored=True)
    builder.add_text_field("terms", tokenizer_name="whitespace", index_option="freq")
    return builder.build()
