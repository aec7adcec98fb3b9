"""Storage of documents with their passages and vectors; each change is one transaction."""

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
    Timestamp,
)
from moli.records.errors import NotFoundError
from moli.workspace import schema
from moli.workspace.database import Database
from moli.workspace.document_dates import document_date, stated_dates
from moli.workspace.filter import Filter
from moli.workspace.passages import batches, scalars, vector_row
from moli.workspace.traces import redact


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A parsed, chunked and embedded document, ready to be stored.

    Attributes:
        source: the path or name that identifies the document; an older version is replaced.
        chunks: chunks that cover `parsed.text` in order, without gaps.
        encoder: name of the encoder of the vectors.
        vectors: [len(chunks), dimensions].
        groups: access groups; None keeps those of the older version, or else opens the document to
            everyone.
        attributes: attributes from the user; those of the older version are kept for other keys.
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


@dataclass(frozen=True, slots=True)
class StoredVersion:
    """The version of a document that is stored; `sha256` is the hash of its file."""

    document_id: int
    sha256: str


class DocumentStore:
    """The documents in the workspace's database, from which search indexes are derived."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # Writing

    def put(self, new: Iterable[NewDocument]) -> set[str]:
        """Store documents in one transaction, and return the sources that were stored before.

        The older version is removed in that same transaction, so exactly one version of a document
        exists at every moment.
        """
        documents = list({document.source: document for document in new}.values())
        with self._database.write() as connection:
            older = _ids_of(connection, [document.source for document in documents])
            inherited = {source: _user_labels_of(connection, id_) for source, id_ in older.items()}
            for document_id in older.values():
                _delete_document(connection, document_id)
            _insert_documents(connection, documents, inherited)
        return set(older)

    def relabel(
        self, source: str, groups: Sequence[str] | None, attributes: Mapping[str, str]
    ) -> None:
        """Change a stored document's access groups and attributes, without parsing it again.

        Args:
            groups: the new access groups; None to keep the present ones.
            attributes: attributes to add, or to replace if the document has the same keys.
        """
        with self._database.write() as connection:
            document_id = _ids_of(connection, [source]).get(source)
            if document_id is None:
                return
            if groups is not None:
                access = schema.access
                connection.execute(sa.delete(access).where(access.c.document_id == document_id))
                if rows := _access_rows(document_id, groups):
                    connection.execute(sa.insert(access), rows)
            table = schema.attributes
            for key, value in attributes.items():
                has_key = (table.c.document_id == document_id) & (table.c.key == key)
                connection.execute(sa.delete(table).where(has_key))
                row = _attribute_row(document_id, key, value, from_user=True)
                connection.execute(sa.insert(table).values(row))

    def remove(self, document_ids: Sequence[int]) -> Removal:
        """Remove documents with their passages and vectors, and redact the traces that quote them.

        Returns:
            The number of rows removed, and of traces redacted.
        """
        with self._database.write() as connection:
            traces = redact(connection, _sources_of(connection, document_ids))
            removals = [_delete_document(connection, document_id) for document_id in document_ids]
        return Removal(
            sum(each.documents for each in removals),
            sum(each.passages for each in removals),
            sum(each.vectors for each in removals),
            traces,
        )

    # Documents

    def stored_versions(self) -> dict[str, StoredVersion]:
        """The stored version of every document, by source."""
        table = schema.documents
        with self._database.read() as connection:
            rows = connection.execute(sa.select(table.c.source, table.c.id, table.c.sha256))
            return {row.source: StoredVersion(row.id, row.sha256) for row in rows}

    def list(
        self, visible: Filter | None = None, ids: Collection[int] | None = None
    ) -> list[Document]:
        """Documents in order of source.

        Args:
            visible: only documents that match this filter; None for all.
            ids: only documents with these ids; None for all.
        """
        condition = sa.true() if visible is None else visible.condition()
        if ids is not None:
            condition = condition & schema.documents.c.id.in_(ids)
        with self._database.read() as connection:
            return _select_documents(connection, condition)

    def get(self, document_id: int, visible: Filter | None = None) -> Document:
        """One document.

        Raises:
            NotFoundError: it does not exist or does not match the filter.
        """
        documents = self.list(visible, [document_id])
        if not documents:
            raise NotFoundError(
                f"no document {document_id}", fix="Take an id from the list of documents."
            )
        return documents[0]

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
        """Number of documents, passages, vectors and traces."""
        tables = (schema.documents, schema.passages, schema.vectors, schema.traces)
        with self._database.read() as connection:
            return {
                table.name: connection.execute(
                    sa.select(sa.func.count()).select_from(table)
                ).scalar_one()
                for table in tables
            }


def _ids_of(connection: sa.Connection, sources: Sequence[str]) -> dict[str, int]:
    """Ids of the documents with these sources, by source; without sources that are not stored."""
    table = schema.documents
    ids: dict[str, int] = {}
    for batch in batches(sources):
        query = sa.select(table.c.source, table.c.id).where(table.c.source.in_(batch))
        ids.update((row.source, row.id) for row in connection.execute(query))
    return ids


def _sources_of(connection: sa.Connection, document_ids: Sequence[int]) -> list[str]:
    """Sources of the documents with these ids."""
    table = schema.documents
    return [
        source
        for batch in batches(document_ids)
        for source in scalars(connection, sa.select(table.c.source).where(table.c.id.in_(batch)))
    ]


@dataclass(frozen=True, slots=True)
class _UserLabels:
    """The access groups and the attributes that a user gave a document.

    They are kept when a new version replaces the document.
    """

    groups: Sequence[str] = (EVERYONE,)
    attributes: Mapping[str, str] = field(default_factory=dict)


def _insert_documents(
    connection: sa.Connection,
    documents: Sequence[NewDocument],
    inherited: Mapping[str, _UserLabels],
) -> None:
    """Store documents with their rows in all tables, one statement per table.

    Args:
        inherited: groups and attributes of the replaced versions, by source.
    """
    if not documents:
        return
    ids = connection.execute(
        sa.insert(schema.documents).returning(schema.documents.c.id, sort_by_parameter_order=True),
        [_document_row(each) for each in documents],
    ).scalars()
    # The log contains every number that was ever used, so none is used again after a removal.
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
        labels = inherited.get(new.source, _UserLabels())
        groups = labels.groups if new.groups is None else new.groups
        rows[schema.access] += _access_rows(document_id, groups)
        from_user = {**labels.attributes, **new.attributes}
        rows[schema.attributes] += _attribute_rows(document_id, new, from_user)
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
    """The row of the documents table for a new document."""
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
        "times": [[each.offset, each.seconds] for each in new.parsed.times],
    }


def _user_labels_of(connection: sa.Connection, document_id: int) -> _UserLabels:
    """The groups and attributes of a stored document that its next version inherits."""
    access, table = schema.access, schema.attributes
    groups = sa.select(access.c.group).where(access.c.document_id == document_id)
    from_user = sa.select(table).where(table.c.document_id == document_id, table.c.given)
    attributes = {row.key: row.value for row in connection.execute(from_user)}
    return _UserLabels(scalars(connection, groups), attributes)


def _access_rows(document_id: int, groups: Sequence[str]) -> list[dict[str, object]]:
    """Rows of the access table: one for each group that may see a document."""
    return [{"document_id": document_id, "group": each} for each in sorted(set(groups))]


def _attribute_rows(
    document_id: int, new: NewDocument, from_user: Mapping[str, str]
) -> list[dict[str, object]]:
    """Rows for attributes from the file and from the user, who takes precedence."""
    from_file = {**new.parsed.metadata, "format": new.format, "language": new.language}
    return [
        _attribute_row(document_id, key, value, from_user=key in from_user)
        for key, values in sorted({**from_file, **from_user}.items())
        for value in ([values] if isinstance(values, str) else sorted(set(values)))
    ]


def _attribute_row(document_id: int, key: str, value: str, *, from_user: bool) -> dict[str, object]:
    """A row of the attributes table; `from_user` is stored as `given`."""
    return {"document_id": document_id, "key": key, "value": value, "given": from_user}


def _passage_rows(document_id: int, new: NewDocument, first: int) -> list[dict[str, object]]:
    """Rows for the chunks of a document, with ids from `first` on."""
    return [
        {
            "id": number,
            "document_id": document_id,
            "start": chunk.start,
            "end": chunk.end,
            "heading": chunk.heading,
            "text": new.parsed.text[chunk.start : chunk.end],
        }
        for number, chunk in enumerate(new.chunks, first)
    ]


def _change_row(kind: str, document_id: int, first: int, last: int) -> dict[str, object]:
    """A row of the change log, by which search indexes are updated.

    Args:
        kind: "add" or "remove".
        first, last: ids of the first and the last passage that the document has or had.
    """
    return {"kind": kind, "document_id": document_id, "first_passage": first, "last_passage": last}


def _delete_document(connection: sa.Connection, document_id: int) -> Removal:
    """Delete a document with its passages and vectors, and log the change.

    Returns:
        The number of rows removed.
    """
    passages, vectors = schema.passages, schema.vectors
    first, last, count = connection.execute(
        sa.select(sa.func.min(passages.c.id), sa.func.max(passages.c.id), sa.func.count()).where(
            passages.c.document_id == document_id
        )
    ).one()
    vector_count = connection.execute(
        sa.select(sa.func.count())
        .select_from(vectors.join(passages))
        .where(passages.c.document_id == document_id)
    ).scalar_one()
    document_count = connection.execute(
        sa.delete(schema.documents).where(schema.documents.c.id == document_id)
    ).rowcount
    if count:
        row = _change_row("remove", document_id, first, last)
        connection.execute(sa.insert(schema.changes), [row])
    return Removal(document_count, count, vector_count, traces=0)


def _select_documents(
    connection: sa.Connection, condition: sa.ColumnElement[bool]
) -> list[Document]:
    """The documents that match a condition, in order of source."""
    table, access = schema.documents, schema.access
    rows = connection.execute(sa.select(table).where(condition).order_by(table.c.source)).all()
    groups: dict[int, list[str]] = {}
    access_rows = sa.select(access).join(table).where(condition).order_by(access.c.group)
    for row in connection.execute(access_rows):
        groups.setdefault(row.document_id, []).append(row.group)
    dates = stated_dates(connection, condition)
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
            times=tuple(Timestamp(*each) for each in row.times),
            date=document_date(row.source, row.title, dates.get(row.id, {})),
        )
        for row in rows
    ]
