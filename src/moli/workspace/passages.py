"""Access to stored passages, their vectors, and the log of changes that search indexes follow."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import sqlalchemy as sa
from numpy.typing import NDArray

from moli.records.documents import Change, Passage, Timestamp, page_at, time_at
from moli.workspace import schema
from moli.workspace.database import Database
from moli.workspace.filter import Filter

T = TypeVar("T")
_BATCH = 500  # below every backend's limit on bound variables


class PassageStore:
    """Passages in the workspace's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, passage_ids: Sequence[int], visible: Filter) -> dict[int, Passage]:
        """Passages by id, without those that were removed or do not match the filter."""
        condition = visible.condition()
        passages: dict[int, Passage] = {}
        with self._database.read() as connection:
            for batch in batches(passage_ids):
                rows = connection.execute(
                    _passage_query().where(schema.passages.c.id.in_(batch), condition)
                )
                passages.update((row.id, _passage(row)) for row in rows)
        return passages

    def visible_ids(self, passage_ids: Sequence[int], visible: Filter) -> set[int]:
        """The ids of those passages that exist and match the filter."""
        return self._ids_where(passage_ids, visible.condition())

    def ids_in_language(self, passage_ids: Sequence[int], language: str) -> set[int]:
        """The ids of those passages whose document is in a language."""
        return self._ids_where(passage_ids, schema.documents.c.language == language)

    def languages(self) -> frozenset[str]:
        """The languages of all documents."""
        with self._database.read() as connection:
            query = sa.select(schema.documents.c.language).distinct()
            return frozenset(scalars(connection, query))

    def _ids_where(self, passage_ids: Sequence[int], condition: sa.ColumnElement[bool]) -> set[int]:
        """The ids of those passages that exist and whose document meets a condition."""
        table = schema.passages
        ids: set[int] = set()
        with self._database.read() as connection:
            for batch in batches(passage_ids):
                query = (
                    sa.select(table.c.id)
                    .join(schema.documents)
                    .where(table.c.id.in_(batch), condition)
                )
                ids.update(scalars(connection, query))
        return ids

    def newest_encoder(self) -> str:
        """The encoder of the newest passage's vector; "" if there is none."""
        table = schema.vectors
        query = sa.select(table.c.encoder).order_by(table.c.passage_id.desc()).limit(1)
        with self._database.read() as connection:
            return connection.execute(query).scalar() or ""

    def all_visible_ids(self, visible: Filter) -> list[int]:
        """The ids of all passages that match the filter."""
        query = sa.select(schema.passages.c.id).join(schema.documents).where(visible.condition())
        with self._database.read() as connection:
            return scalars(connection, query)

    def any_visible(self, visible: Filter) -> bool:
        """Whether any passage matches the filter."""
        query = sa.select(schema.passages.c.id).join(schema.documents).where(visible.condition())
        with self._database.read() as connection:
            return connection.execute(query.limit(1)).first() is not None

    def scan(self, batch: int = 1000) -> Iterator[list[Passage]]:
        """All passages in order of id, in batches."""
        last = 0
        while True:
            query = (
                _passage_query()
                .where(schema.passages.c.id > last)
                .order_by(schema.passages.c.id)
                .limit(batch)
            )
            with self._database.read() as connection:
                rows = [_passage(row) for row in connection.execute(query)]
            if not rows:
                return
            yield rows
            last = rows[-1].id

    def range(self, first: int, last: int) -> list[Passage]:
        """The passages with ids from `first` to `last` that exist."""
        numbers = schema.passages.c.id
        query = _passage_query().where(numbers.between(first, last)).order_by(numbers)
        with self._database.read() as connection:
            return [_passage(row) for row in connection.execute(query)]

    def vectors(
        self, encoder: str, first: int, last: int
    ) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Ids [n] and vectors [n, dimensions] of passages with ids from `first` to `last`."""
        table = schema.vectors
        query = sa.select(table.c.passage_id, table.c.vector).where(
            table.c.encoder == encoder, table.c.passage_id.between(first, last)
        )
        query = query.order_by(table.c.passage_id)
        with self._database.read() as connection:
            rows = connection.execute(query).all()
        ids = np.array([row.passage_id for row in rows], dtype=np.int64)
        data = np.frombuffer(b"".join(row.vector for row in rows), dtype="<f2")
        return ids, data.reshape(len(rows), -1 if len(rows) else 0).astype(np.float32)

    def without_vectors(self, encoder: str, limit: int) -> list[Passage]:
        """At most `limit` passages that have no vector of this encoder yet, in order of id."""
        table = schema.vectors
        has_vector = sa.exists().where(
            table.c.passage_id == schema.passages.c.id, table.c.encoder == encoder
        )
        query = _passage_query().where(~has_vector).order_by(schema.passages.c.id).limit(limit)
        with self._database.read() as connection:
            return [_passage(row) for row in connection.execute(query)]

    # The change log

    def last_change(self) -> int:
        """Number of the newest change; 0 in an empty log."""
        with self._database.read() as connection:
            query = sa.select(sa.func.max(schema.changes.c.seq))
            return connection.execute(query).scalar() or 0

    def changes(self, after: int, limit: int = 1000) -> list[Change]:
        """At most `limit` changes with numbers above `after`, the oldest first."""
        table = schema.changes
        query = sa.select(table).where(table.c.seq > after).order_by(table.c.seq).limit(limit)
        with self._database.read() as connection:
            return [
                Change(row.seq, row.kind, row.document_id, row.first_passage, row.last_passage)
                for row in connection.execute(query)
            ]

    def set_vectors(
        self, encoder: str, passage_ids: Sequence[int], vectors: NDArray[np.float32]
    ) -> None:
        """Store vectors of another encoder for those passages that still exist."""
        table = schema.vectors
        with self._database.write() as connection:
            for batch in batches(list(zip(passage_ids, vectors, strict=True))):
                in_batch = schema.passages.c.id.in_([passage_id for passage_id, _ in batch])
                live = set(scalars(connection, sa.select(schema.passages.c.id).where(in_batch)))
                connection.execute(
                    sa.delete(table).where(table.c.encoder == encoder, table.c.passage_id.in_(live))
                )
                rows = [vector_row(id_, encoder, vector) for id_, vector in batch if id_ in live]
                if rows:
                    connection.execute(sa.insert(table), rows)


def vector_row(passage_id: int, encoder: str, vector: NDArray[np.float32]) -> dict[str, object]:
    """A row of the table `vectors`; vectors are stored as float16."""
    return {
        "passage_id": passage_id,
        "encoder": encoder,
        "vector": vector.astype("<f2").tobytes(),
    }


def _passage_query() -> sa.Select[tuple[object, ...]]:
    """A query for passages with the columns of their documents that `_passage` needs."""
    return sa.select(
        schema.passages,
        schema.documents.c.source,
        schema.documents.c.title,
        schema.documents.c.pages,
        schema.documents.c.times,
    ).join(schema.documents)


def _passage(row: sa.Row[tuple[object, ...]]) -> Passage:
    """A passage from a row of `_passage_query`."""
    return Passage(
        id=row.id,
        document_id=row.document_id,
        source=row.source,
        title=row.title,
        heading=row.heading,
        page=page_at(tuple(row.pages), row.start),
        start=row.start,
        end=row.end,
        text=row.text,
        time=time_at(tuple(Timestamp(*each) for each in row.times), row.start),
    )


def scalars(connection: sa.Connection, query: sa.Select[tuple[object, ...]]) -> list[Any]:
    """The first column of a query's rows."""
    return list(connection.execute(query).scalars())


def batches(items: Sequence[T]) -> Iterator[list[T]]:
    """The items in lists that are short enough for one statement."""
    for start in range(0, len(items), _BATCH):
        yield list(items[start : start + _BATCH])
