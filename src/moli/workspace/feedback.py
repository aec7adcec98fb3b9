"""Storage of people's feedback on answers."""

from __future__ import annotations

from dataclasses import asdict, replace

import sqlalchemy as sa

from moli.records.exchanges import Feedback
from moli.workspace import schema
from moli.workspace.database import Database


class FeedbackStore:
    """Feedback in the workspace's database; rows are only ever added, and the newest counts."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, feedback: Feedback) -> Feedback:
        """Store feedback and return it with its number; it is on disk when this returns."""
        row = asdict(feedback)
        del row["id"]
        with self._database.write() as connection:
            added = connection.execute(sa.insert(schema.feedback).values(**row))
            number = added.inserted_primary_key
        assert number is not None  # noqa: S101 - the database numbers every row
        return replace(feedback, id=int(number[0]))

    def list(
        self, *, tenant: str | None = None, answer_id: str = "", after: int = 0, limit: int = 1000
    ) -> list[Feedback]:
        """Feedback, the oldest first.

        Args:
            tenant: only feedback of this tenant; None for all.
            answer_id: only feedback on this answer; "" for all.
            after: only feedback with a higher number.
        """
        table = schema.feedback
        query = sa.select(table).where(table.c.id > after)
        if tenant is not None:
            query = query.where(table.c.tenant == tenant)
        if answer_id:
            query = query.where(table.c.answer_id == answer_id)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(table.c.id).limit(limit)).mappings().all()
        return [Feedback(**row) for row in rows]
