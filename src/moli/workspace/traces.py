"""Storage of traces, redacted when a document that they quote is removed.

A trace is the record of an answer: the question, the passages found, and the answer with citations.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from pydantic import TypeAdapter

from moli.records.answers import Trace
from moli.records.errors import NotFoundError
from moli.workspace import schema
from moli.workspace.database import Database
from moli.workspace.passages import batches

_TRACE = TypeAdapter(Trace)


class TraceStore:
    """Traces in the workspace's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, trace: Trace) -> None:
        """Store a trace, redacted if one of its documents was removed meanwhile."""
        sources = sorted({passage.source for passage in trace.passages})
        payload = _TRACE.dump_python(trace, mode="json")
        table = schema.documents
        with self._database.write() as connection:
            live = connection.execute(sa.select(table.c.source).where(table.c.source.in_(sources)))
            present = set(live.scalars())
            if gone := set(sources) - present:
                payload = _redacted(payload, gone)
            connection.execute(
                sa.insert(schema.traces).values(
                    id=trace.id,
                    created_at=trace.created_at,
                    payload=payload,
                    tenant=trace.tenant,
                )
            )
            rows = [{"trace_id": trace.id, "source": source} for source in sorted(present)]
            if rows:
                connection.execute(sa.insert(schema.trace_sources), rows)

    def get(self, trace_id: str) -> Trace:
        """A trace by its id, or by a prefix of it that is unique.

        Raises:
            NotFoundError: no id, or more than one, begins with `trace_id`.
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

    def recent(self, *, tenant: str | None = None, limit: int = 50) -> list[Trace]:
        """Traces, the newest first; only those of one tenant if `tenant` is given."""
        query = sa.select(schema.traces.c.payload).order_by(schema.traces.c.created_at.desc())
        if tenant is not None:
            query = query.where(schema.traces.c.tenant == tenant)
        with self._database.read() as connection:
            rows = connection.execute(query.limit(limit)).scalars().all()
        return [_TRACE.validate_python(row) for row in rows]


def redact(connection: sa.Connection, sources: Sequence[str]) -> int:
    """Remove the texts of removed documents from all traces.

    Args:
        sources: sources of the removed documents.

    Returns:
        The number of traces that were changed.
    """
    traces, link = schema.traces, schema.trace_sources
    redacted: set[str] = set()
    for batch in batches(sources):
        of_batch = link.c.source.in_(batch)
        ids = set(connection.execute(sa.select(link.c.trace_id).where(of_batch)).scalars())
        for trace_id in ids:
            is_trace = traces.c.id == trace_id
            payload = connection.execute(sa.select(traces.c.payload).where(is_trace)).scalar_one()
            payload = _redacted(payload, set(batch))
            connection.execute(sa.update(traces).where(is_trace).values(payload=payload))
        connection.execute(sa.delete(link).where(of_batch))
        redacted |= ids
    return len(redacted)


def _redacted(payload: dict[str, Any], removed: set[str]) -> dict[str, Any]:
    """A trace's payload without the texts of the removed sources; numbers and scores stay."""
    text_fields = {"text", "quote", "heading", "title", "source"}

    def clean(value: Any) -> Any:
        """The value with the texts of removed sources replaced by ""."""
        if isinstance(value, list):
            return [clean(item) for item in value]
        if isinstance(value, dict):
            is_removed = value.get("source") in removed
            return {
                key: "" if is_removed and key in text_fields else clean(item)
                for key, item in value.items()
            }
        return value

    # A sentence may repeat a passage word for word. It stays only if it has citations, and all of
    # them are of documents that still exist.
    is_kept = [
        bool(sentence["citations"])
        and not any(citation["source"] in removed for citation in sentence["citations"])
        for sentence in _sentences_of(payload)
    ]
    cleaned: dict[str, Any] = clean(payload)
    for sentence, keep in zip(_sentences_of(cleaned), is_kept, strict=True):
        if not keep:
            sentence["text"] = ""
    return cleaned


def _sentences_of(payload: dict[str, Any]) -> list[dict[str, Any]]:
    """The sentences in a trace's payload: the answer's, and the closest one."""
    closest = payload.get("closest")  # which traces of earlier versions do not have
    return [*payload["sentences"], *([closest] if closest else [])]
