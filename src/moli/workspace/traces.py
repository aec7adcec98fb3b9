"""Traces: how each answer came about, kept until a document they quote is removed."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter

from moli.records.answers import Trace
from moli.records.errors import NotFoundError
from moli.workspace import schema
from moli.workspace.database import Database

_TRACE = TypeAdapter(Trace)


class TraceStore:
    """Traces in the store of record."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, trace: Trace) -> None:
        quoted = {passage.document_id for passage in trace.passages}
        with self._database.write() as connection:
            connection.execute(
                sa.insert(schema.traces).values(
                    id=trace.id,
                    created_at=trace.created_at,
                    payload=_TRACE.dump_python(trace, mode="json"),
                )
            )
            if quoted:
                rows = [{"trace_id": trace.id, "document_id": each} for each in sorted(quoted)]
                connection.execute(sa.insert(schema.trace_documents), rows)

    def get(self, trace_id: str) -> Trace:
        """The trace by its id, or by a prefix that only it has.

        Raises:
            NotFoundError: no trace, or more than one, begins so.
        """
        table = schema.traces
        query = sa.select(table.c.payload).where(table.c.id.startswith(trace_id, autoescape=True))
        with self._database.read() as connection:
            rows = connection.execute(query.limit(2)).scalars().all()
        if len(rows) != 1 or not trace_id:
            count = "more than one trace begins" if rows else "no trace begins"
            raise NotFoundError(
                f"{count} with '{trace_id}'", fix="Copy the id that 'moli ask' printed."
            )
        return _TRACE.validate_python(rows[0])

    def recent(self, limit: int = 50) -> list[Trace]:
        """The newest traces first."""
        query = sa.select(schema.traces.c.payload).order_by(schema.traces.c.created_at.desc())
        with self._database.read() as connection:
            rows = connection.execute(query.limit(limit)).scalars().all()
        return [_TRACE.validate_python(row) for row in rows]


def redact(connection: sa.Connection, document_ids: list[int]) -> int:
    """Take the words of removed documents out of the traces that quote them; returns how many."""
    if not document_ids:
        return 0
    traces, link = schema.traces, schema.trace_documents
    concerned = sa.select(link.c.trace_id).where(link.c.document_id.in_(document_ids))
    rows = connection.execute(
        sa.select(traces.c.id, traces.c.payload).where(traces.c.id.in_(concerned))
    ).all()
    gone = set(document_ids)
    for trace_id, payload in rows:
        connection.execute(
            sa.update(traces).where(traces.c.id == trace_id).values(payload=_without(payload, gone))
        )
    connection.execute(sa.delete(link).where(link.c.document_id.in_(document_ids)))
    return len(rows)


def _without(payload: dict[str, Any], gone: set[int]) -> dict[str, Any]:
    """`payload` with text, heading and title of the `gone` documents emptied, numbers kept."""
    words = {"text", "quote", "heading", "title", "source"}

    def clean(value: Any) -> Any:
        if isinstance(value, list):
            return [clean(each) for each in value]
        if isinstance(value, dict):
            redacted = value.get("document_id") in gone
            return {k: "" if redacted and k in words else clean(v) for k, v in value.items()}
        return value

    cleaned: dict[str, Any] = clean(payload)
    # A sentence may repeat its quote word for word, so answers that rest on a removed document go.
    for sentence in cleaned["sentences"]:
        if any(citation["document_id"] in gone for citation in sentence["citations"]):
            sentence["text"] = ""
    return cleaned
