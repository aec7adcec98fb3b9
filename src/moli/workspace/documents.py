"""Documents, passages, vectors and the change log, written together or not at all."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from moli.records.documents import (
    EVERYONE,
    Chunk,
    Document,
    ParsedDocument,
    Removal,
)
from moli.records.errors import NotFoundError
from moli.workspace import schema
from moli.workspace.database import Database
from moli.workspace.filter import Filter
from moli.workspace.passages import batches, scalars, vector_row
from moli.workspace.traces import redact


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document read, cut and embedded, ready to be stored.

    `chunks` tile `parsed.text`; `vectors` is [len(chunks), dimensions] from `encoder`.
    """

    source: str
    format: str
    language: str
    sha256: str
    bytes: int
    parsed: ParsedDocument
    chunks: Sequence[Chunk]
    encoder: str
    vectors: NDArray[np.float32]
    groups: Sequence[str] = (EVERYONE,)
    attributes: Mapping[str, str] = field(default_factory=dict)


class DocumentStore:
    """Documents in the store of record."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # Writing

    def put(self, new: Iterable[NewDocument]) -> set[str]:
        """Store documents in one transaction and return the sources that were there before.

        An older version is replaced in that same transaction, so at every moment exactly one
        version of a document is there.
        """
        with self._database.write() as connection:
            return {document.source for document in new if _insert(connection, document)}

    def set_groups(self, source: str, groups: Sequence[str]) -> None:
        """Say anew who may see a document; nothing is written if that is how it is."""
        table, access = schema.documents, schema.access
        query = (
            sa.select(access.c.group)
            .join(table, table.c.id == access.c.document_id)
            .where(table.c.source == source)
        )
        with self._database.read() as connection:
            if set(scalars(connection, query)) == set(groups):
                return
        with self._database.write() as connection:
            document_id = connection.execute(
                sa.select(table.c.id).where(table.c.source == source)
            ).scalar()
            if document_id is not None:
                connection.execute(sa.delete(access).where(access.c.document_id == document_id))
                _grant(connection, document_id, groups)

    def remove(self, document_ids: Sequence[int]) -> Removal:
        """Remove documents and all that came from them, and say how much that was."""
        with self._database.write() as connection:
            passages = vectors = documents = traces = 0
            for batch in batches(document_ids):
                traces += redact(connection, batch)
                for document_id in batch:
                    counts = _delete(connection, document_id)
                    documents, passages, vectors = (
                        documents + counts[0],
                        passages + counts[1],
                        vectors + counts[2],
                    )
        return Removal(documents, passages, vectors, traces)

    # Documents

    def digests(self) -> dict[str, tuple[int, str]]:
        """Source to (document id, sha256) for all that is stored."""
        table = schema.documents
        with self._database.read() as connection:
            rows = connection.execute(sa.select(table.c.source, table.c.id, table.c.sha256))
            return {row.source: (row.id, row.sha256) for row in rows}

    def list(self, visible: Filter | None = None) -> list[Document]:
        """Documents by source; only those a filter shows, if one is given."""
        condition = sa.true() if visible is None else visible.condition()
        with self._database.read() as connection:
            return _documents(connection, condition)

    def get(self, document_id: int, visible: Filter | None = None) -> Document:
        """One document.

        Raises:
            NotFoundError: it does not exist, or the filter does not show it.
        """
        condition = schema.documents.c.id == document_id
        if visible is not None:
            condition = condition & visible.condition()
        with self._database.read() as connection:
            found = _documents(connection, condition)
        if not found:
            raise NotFoundError(
                f"no document {document_id}", fix="'moli list' shows what there is."
            )
        return found[0]

    def text(self, document_id: int) -> str:
        """The document's whole text."""
        table = schema.passages
        query = (
            sa.select(table.c.text)
            .where(table.c.document_id == document_id)
            .order_by(table.c.start)
        )
        with self._database.read() as connection:
            return "".join(scalars(connection, query))

    def counts(self) -> dict[str, int]:
        """Rows of each kind, for status."""
        tables = (schema.documents, schema.passages, schema.vectors, schema.traces)
        with self._database.read() as connection:
            return {
                table.name: connection.execute(
                    sa.select(sa.func.count()).select_from(table)
                ).scalar_one()
                for table in tables
            }


def _insert(connection: sa.Connection, new: NewDocument) -> bool:
    """Store a document; returns whether it replaces an older version."""
    old = connection.execute(
        sa.select(schema.documents.c.id).where(schema.documents.c.source == new.source)
    ).scalar()
    if old is not None:
        _delete(connection, old)
    document_id = connection.execute(
        sa.insert(schema.documents)
        .values(
            source=new.source,
            title=new.parsed.title,
            format=new.format,
            language=new.language,
            sha256=new.sha256,
            bytes=new.bytes,
            characters=len(new.parsed.text),
            pages=list(new.parsed.pages),
            warnings=list(new.parsed.warnings),
            added_at=time.time(),
        )
        .returning(schema.documents.c.id)
    ).scalar_one()
    _grant(connection, document_id, new.groups)
    pairs = {"format": new.format, "language": new.language}
    pairs |= dict(new.parsed.metadata) | dict(new.attributes)
    rows = [{"document_id": document_id, "key": k, "value": v} for k, v in sorted(pairs.items())]
    connection.execute(sa.insert(schema.attributes), rows)
    _insert_passages(connection, document_id, new)
    return old is not None


def _grant(connection: sa.Connection, document_id: int, groups: Sequence[str]) -> None:
    rows = [{"document_id": document_id, "group": each} for each in sorted(set(groups))]
    if rows:
        connection.execute(sa.insert(schema.access), rows)


def _insert_passages(connection: sa.Connection, document_id: int, new: NewDocument) -> None:
    if not new.chunks:
        return
    # The log remembers every number that was ever given, so none comes back after a removal.
    highest = connection.execute(sa.select(sa.func.max(schema.changes.c.last_passage))).scalar()
    first = (highest or 0) + 1
    last = first + len(new.chunks) - 1
    text = new.parsed.text
    connection.execute(
        sa.insert(schema.passages),
        [
            {
                "id": first + offset,
                "document_id": document_id,
                "start": chunk.start,
                "end": chunk.end,
                "heading": chunk.heading,
                "text": text[chunk.start : chunk.end],
            }
            for offset, chunk in enumerate(new.chunks)
        ],
    )
    connection.execute(
        sa.insert(schema.vectors),
        [vector_row(first + i, new.encoder, vector) for i, vector in enumerate(new.vectors)],
    )
    _log(connection, "add", document_id, first, last)


def _delete(connection: sa.Connection, document_id: int) -> tuple[int, int, int]:
    """Delete a document; returns rows of documents, passages and vectors that went."""
    passages, vectors = schema.passages, schema.vectors
    first, last, count = connection.execute(
        sa.select(sa.func.min(passages.c.id), sa.func.max(passages.c.id), sa.func.count()).where(
            passages.c.document_id == document_id
        )
    ).one()
    held = connection.execute(
        sa.select(sa.func.count())
        .select_from(vectors.join(passages))
        .where(passages.c.document_id == document_id)
    ).scalar_one()
    gone = connection.execute(
        sa.delete(schema.documents).where(schema.documents.c.id == document_id)
    ).rowcount
    if count:
        _log(connection, "remove", document_id, first, last)
    return gone, count, held


def _log(connection: sa.Connection, kind: str, document_id: int, first: int, last: int) -> None:
    connection.execute(
        sa.insert(schema.changes).values(
            kind=kind, document_id=document_id, first_passage=first, last_passage=last
        )
    )


def _documents(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> list[Document]:
    table, access = schema.documents, schema.access
    rows = connection.execute(sa.select(table).where(condition).order_by(table.c.source)).all()
    groups: dict[int, list[str]] = {}
    for row in connection.execute(sa.select(access).order_by(access.c.group)):
        groups.setdefault(row.document_id, []).append(row.group)
    return [
        Document(
            id=row.id,
            source=row.source,
            title=row.title,
            format=row.format,
            language=row.language,
            sha256=row.sha256,
            bytes=row.bytes,
            characters=row.characters,
            pages=tuple(row.pages),
            warnings=tuple(row.warnings),
            added_at=row.added_at,
            groups=tuple(groups.get(row.id, ())),
        )
        for row in rows
    ]
