"""Documents, passages, vectors and the change log, written together or not at all."""

from __future__ import annotations

import time
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from moli.records.documents import (
    EVERYONE,
    Chunk,
    Document,
    Heading,
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

    `chunks` tile `parsed.text`; `vectors` is [len(chunks), dimensions] from `encoder`. Without
    `groups`, a new version keeps those of the old one, and a new document is open to everyone.
    A new version also keeps the attributes given to the old one, where it brings none of that key.
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
    groups: Sequence[str] | None = None
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
        documents = list({document.source: document for document in new}.values())
        with self._database.write() as connection:
            older = _ids(connection, [document.source for document in documents])
            kept = {source: _kept(connection, number) for source, number in older.items()}
            for document_id in older.values():
                _delete(connection, document_id)
            _insert(connection, documents, kept)
        return set(older)

    def relabel(
        self, source: str, groups: Sequence[str] | None, attributes: Mapping[str, str]
    ) -> None:
        """Set anew who may see a stored document, if `groups` are given, and add attributes."""
        with self._database.write() as connection:
            document_id = _ids(connection, [source]).get(source)
            if document_id is None:
                return
            if groups is not None:
                access = schema.access
                connection.execute(sa.delete(access).where(access.c.document_id == document_id))
                if rows := _access_rows(document_id, groups):
                    connection.execute(sa.insert(access), rows)
            table = schema.attributes
            for key, value in attributes.items():
                of_key = (table.c.document_id == document_id) & (table.c.key == key)
                connection.execute(sa.delete(table).where(of_key))
                row = _attribute_row(document_id, key, value, given=True)
                connection.execute(sa.insert(table).values(row))

    def remove(self, document_ids: Sequence[int]) -> Removal:
        """Remove documents and all that came from them, and say how much that was."""
        documents = passages = vectors = 0
        with self._database.write() as connection:
            traces = redact(connection, _sources(connection, document_ids))
            for document_id in document_ids:
                counts = _delete(connection, document_id)
                documents += counts[0]
                passages += counts[1]
                vectors += counts[2]
        return Removal(documents, passages, vectors, traces)

    # Documents

    def digests(self) -> dict[str, tuple[int, str]]:
        """Source to (document id, sha256) for all that is stored."""
        table = schema.documents
        with self._database.read() as connection:
            rows = connection.execute(sa.select(table.c.source, table.c.id, table.c.sha256))
            return {row.source: (row.id, row.sha256) for row in rows}

    def list(
        self, visible: Filter | None = None, ids: Collection[int] | None = None
    ) -> list[Document]:
        """Documents by source; only those a filter shows and only of these ids, where given."""
        condition = sa.true() if visible is None else visible.condition()
        if ids is not None:
            condition = condition & schema.documents.c.id.in_(ids)
        with self._database.read() as connection:
            return _documents(connection, condition)

    def get(self, document_id: int, visible: Filter | None = None) -> Document:
        """One document.

        Raises:
            NotFoundError: it does not exist, or the filter does not show it.
        """
        found = self.list(visible, [document_id])
        if not found:
            raise NotFoundError(
                f"no document {document_id}", fix="Take an id from the list of documents."
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


def _ids(connection: sa.Connection, sources: Sequence[str]) -> dict[str, int]:
    """Ids of the sources that are stored."""
    table = schema.documents
    found: dict[str, int] = {}
    for batch in batches(sources):
        query = sa.select(table.c.source, table.c.id).where(table.c.source.in_(batch))
        found.update((row.source, row.id) for row in connection.execute(query))
    return found


def _sources(connection: sa.Connection, document_ids: Sequence[int]) -> list[str]:
    table = schema.documents
    return [
        source
        for batch in batches(document_ids)
        for source in scalars(connection, sa.select(table.c.source).where(table.c.id.in_(batch)))
    ]


@dataclass(frozen=True, slots=True)
class _Kept:
    """What people said about a document, which its new versions keep."""

    groups: Sequence[str] = (EVERYONE,)
    attributes: Mapping[str, str] = field(default_factory=dict)


def _insert(
    connection: sa.Connection, documents: Sequence[NewDocument], kept: Mapping[str, _Kept]
) -> None:
    """Store documents with all that belongs to them, one statement per table.

    Args:
        kept: by source, for documents that were there before.
    """
    if not documents:
        return
    ids = connection.execute(
        sa.insert(schema.documents).returning(schema.documents.c.id, sort_by_parameter_order=True),
        [_document_row(each) for each in documents],
    ).scalars()
    # The log remembers every number that was ever given, so none comes back after a removal.
    highest = connection.execute(sa.select(sa.func.max(schema.changes.c.last_passage))).scalar()
    first = (highest or 0) + 1
    rows: dict[sa.Table, list[dict[str, object]]] = {
        table: []
        for table in (
            schema.access,
            schema.attributes,
            schema.passages,
            schema.vectors,
            schema.changes,
        )
    }
    for document_id, new in zip(ids, documents, strict=True):
        before = kept.get(new.source, _Kept())
        groups = before.groups if new.groups is None else new.groups
        rows[schema.access] += _access_rows(document_id, groups)
        given = {**before.attributes, **new.attributes}
        rows[schema.attributes] += _attribute_rows(document_id, new, given)
        rows[schema.passages] += _passage_rows(document_id, new, first)
        rows[schema.vectors] += [
            vector_row(number, new.encoder, vector)
            for number, vector in enumerate(new.vectors, first)
        ]
        if new.chunks:
            last = first + len(new.chunks) - 1
            rows[schema.changes].append(_change_row("add", document_id, first, last))
            first = last + 1
    for table, values in rows.items():
        if values:
            connection.execute(sa.insert(table), values)


def _document_row(new: NewDocument) -> dict[str, object]:
    return {
        "source": new.source,
        "title": new.parsed.title,
        "format": new.format,
        "language": new.language,
        "sha256": new.sha256,
        "bytes": new.bytes,
        "characters": len(new.parsed.text),
        "pages": list(new.parsed.pages),
        "headings": [[each.offset, each.level, each.text] for each in new.parsed.headings],
        "warnings": list(new.parsed.warnings),
        "added_at": time.time(),
    }


def _kept(connection: sa.Connection, document_id: int) -> _Kept:
    access, table = schema.access, schema.attributes
    groups = sa.select(access.c.group).where(access.c.document_id == document_id)
    given = sa.select(table).where(table.c.document_id == document_id, table.c.given)
    attributes = {row.key: row.value for row in connection.execute(given)}
    return _Kept(scalars(connection, groups), attributes)


def _access_rows(document_id: int, groups: Sequence[str]) -> list[dict[str, object]]:
    return [{"document_id": document_id, "group": each} for each in sorted(set(groups))]


def _attribute_rows(
    document_id: int, new: NewDocument, given: Mapping[str, str]
) -> list[dict[str, object]]:
    read = {**new.parsed.metadata, "format": new.format, "language": new.language}
    return [
        _attribute_row(document_id, key, value, given=key in given)
        for key, value in sorted({**read, **given}.items())
    ]


def _attribute_row(document_id: int, key: str, value: str, *, given: bool) -> dict[str, object]:
    return {"document_id": document_id, "key": key, "value": value, "given": given}


def _passage_rows(document_id: int, new: NewDocument, first: int) -> list[dict[str, object]]:
    return [
        {
            "id": number,
            "document_id": document_id,
            "start": each.start,
            "end": each.end,
            "heading": each.heading,
            "text": new.parsed.text[each.start : each.end],
        }
        for number, each in enumerate(new.chunks, first)
    ]


def _change_row(kind: str, document_id: int, first: int, last: int) -> dict[str, object]:
    return {
        "kind": kind,
        "document_id": document_id,
        "first_passage": first,
        "last_passage": last,
    }


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
        row = _change_row("remove", document_id, first, last)
        connection.execute(sa.insert(schema.changes), [row])
    return gone, count, held


def _documents(connection: sa.Connection, condition: sa.ColumnElement[bool]) -> list[Document]:
    table, access = schema.documents, schema.access
    rows = connection.execute(sa.select(table).where(condition).order_by(table.c.source)).all()
    groups: dict[int, list[str]] = {}
    of_them = sa.select(access).join(table).where(condition).order_by(access.c.group)
    for row in connection.execute(of_them):
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
            headings=tuple(Heading(*each) for each in row.headings),
            warnings=tuple(row.warnings),
            added_at=row.added_at,
            groups=tuple(groups.get(row.id, ())),
        )
        for row in rows
    ]
