"""Shadows: models that also answer requests to an alias; their answers are stored, not shown."""

from __future__ import annotations

import time
from dataclasses import dataclass

import sqlalchemy as sa

from moli.records.errors import InputError
from moli.workspace import schema
from moli.workspace.database import Database


@dataclass(frozen=True, slots=True)
class Shadow:
    """A model that also answers a share of the requests to an alias.

    Attributes:
        hash: hash of the model's content.
        share: share of the alias's requests, above 0 and at most 1.
    """

    alias: str
    hash: str
    share: float


class ShadowStore:
    """The shadows of aliases in the workspace's database; an alias has one at most."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def set(self, shadow: Shadow) -> None:
        """Make a model the shadow of an alias.

        Raises:
            InputError: the share is not above 0 and at most 1.
        """
        if not 0 < shadow.share <= 1:
            raise InputError(
                f"a share of {shadow.share:g}", fix="Give one above 0 and at most 1, such as 0.1."
            )
        self._add(shadow)

    def end(self, alias: str) -> None:
        """Remove the shadow of an alias."""
        self._add(Shadow(alias, "", 0.0))

    def get(self, alias: str) -> Shadow | None:
        """The shadow of an alias; None if there is none."""
        table = schema.shadows
        query = sa.select(table).where(table.c.alias == alias).order_by(table.c.id.desc()).limit(1)
        with self._database.read() as connection:
            row = connection.execute(query).one_or_none()
        return Shadow(row.alias, row.hash, row.share) if row and row.hash else None

    def _add(self, shadow: Shadow) -> None:
        """Add a row for an alias; the newest one counts."""
        row = {"alias": shadow.alias, "hash": shadow.hash, "share": shadow.share}
        with self._database.write() as connection:
            connection.execute(sa.insert(schema.shadows).values(**row, set_at=time.time()))
