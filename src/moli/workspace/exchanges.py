"""Storage of exchanges: records of a request to a language model and its answers."""

from __future__ import annotations

import sqlalchemy as sa
from pydantic import TypeAdapter

from moli.records.errors import NotFoundError
from moli.records.exchanges import Exchange
from moli.workspace import schema
from moli.workspace.database import Database

_EXCHANGE = TypeAdapter(Exchange)


class ExchangeStore:
    """Exchanges in the workspace's database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, exchange: Exchange) -> None:
        """Store an exchange; it is on disk when this returns.

        The shadow of an exchange that was removed meanwhile is not stored.
        """
        row = {
            "id": exchange.id,
            "created_at": exchange.created_at,
            "tenant": exchange.tenant,
            "adapter": exchange.adapter,
            "shadow_of": exchange.shadow_of,
            "payload": _EXCHANGE.dump_python(exchange, mode="json"),
        }
        table = schema.exchanges
        shown = sa.select(table.c.id).where(table.c.id == exchange.shadow_of)
        with self._database.write() as connection:
            if exchange.shadow_of and connection.execute(shown).first() is None:
                return
            connection.execute(sa.insert(table).values(**row))

    def get(self, exchange_id: str) -> Exchange:
        """An exchange by its whole id.

        Raises:
            NotFoundError: it does not exist.
        """
        table = schema.exchanges
        query = sa.select(table.c.payload).where(table.c.id == exchange_id)
        with self._database.read() as connection:
            payload = connection.execute(query).scalar_one_or_none()
        if payload is None:
            raise _unknown_exchange(exchange_id)
        return _EXCHANGE.validate_python(payload)

    def get_shown(self, exchange_id: str, tenant: str) -> Exchange:
        """An exchange of the tenant whose answer was shown.

        Raises:
            NotFoundError: it does not exist, is another tenant's, or is a shadow's.
        """
        exchange = self.get(exchange_id)
        if exchange.tenant != tenant or exchange.shadow_of:
            raise _unknown_exchange(exchange_id)
        return exchange

    def remove(self, exchange_id: str) -> None:
        """Remove an exchange with its shadows and its feedback."""
        table, feedback = schema.exchanges, schema.feedback
        gone = sa.or_(table.c.id == exchange_id, table.c.shadow_of == exchange_id)
        with self._database.write() as connection:
            connection.execute(sa.delete(table).where(gone))
            connection.execute(sa.delete(feedback).where(feedback.c.answer_id == exchange_id))

    def recent(
        self, *, tenant: str | None = None, adapter: str | None = None, limit: int = 50
    ) -> list[Exchange]:
        """Exchanges whose answers were shown, the newest first.

        Args:
            tenant, adapter: only exchanges of this tenant and this adapter; None for all.
        """
        table = schema.exchanges
        query = sa.select(table.c.payload).where(table.c.shadow_of == "")
        if tenant is not None:
            query = query.where(table.c.tenant == tenant)
        if adapter is not None:
            query = query.where(table.c.adapter == adapter)
        query = query.order_by(table.c.created_at.desc(), table.c.id).limit(limit)
        with self._database.read() as connection:
            rows = connection.execute(query).scalars().all()
        return [_EXCHANGE.validate_python(row) for row in rows]

    def shadows(self, exchange_id: str) -> list[Exchange]:
        """The shadows of an exchange, the oldest first."""
        table = schema.exchanges
        query = sa.select(table.c.payload).where(table.c.shadow_of == exchange_id)
        with self._database.read() as connection:
            rows = connection.execute(query.order_by(table.c.created_at)).scalars().all()
        return [_EXCHANGE.validate_python(row) for row in rows]


def _unknown_exchange(exchange_id: str) -> NotFoundError:
    """The error for an id that no visible exchange has."""
    return NotFoundError(
        f"no exchange '{exchange_id}'", fix="Copy the id that the answer came with."
    )
