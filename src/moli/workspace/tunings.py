"""Storage of the fusions of lexical and dense search by language, each with its evidence."""

from __future__ import annotations

import time
from typing import Any

import sqlalchemy as sa

from moli.records.answers import Fusion
from moli.workspace import schema
from moli.workspace.database import Database


class TuningStore:
    """Tunings in the database; the newest for an encoder and two languages is used."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self,
        encoder: str,
        language: str,
        passage_language: str,
        fusion: Fusion,
        evidence: dict[str, Any],
    ) -> None:
        """Store the fusion that is used for an encoder and two languages from now on.

        Args:
            language: the queries'.
            evidence: the measurements by which it was selected, as JSON values.
        """
        row = {
            "encoder": encoder,
            "language": language,
            "passage_language": passage_language,
            "method": fusion.method,
            "weight": fusion.weight,
            "evidence": evidence,
            "created_at": time.time(),
        }
        with self._database.write() as connection:
            connection.execute(sa.insert(schema.tunings).values(**row))

    def current(self, encoder: str, language: str, passage_language: str) -> Fusion | None:
        """The fusion for queries and passages in some languages; None if it was never tuned."""
        table = schema.tunings
        query = (
            sa.select(table.c.method, table.c.weight)
            .where(
                table.c.encoder == encoder,
                table.c.language == language,
                table.c.passage_language == passage_language,
            )
            .order_by(table.c.id.desc())
            .limit(1)
        )
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return Fusion(row.method, row.weight) if row else None
