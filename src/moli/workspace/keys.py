"""Storage of API keys."""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import IntegrityError

from moli.records.errors import InputError, NotFoundError
from moli.records.keys import Key, Scope
from moli.workspace import schema
from moli.workspace.database import Database

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_PREFIX = "moli_"  # lets scanners for leaked secrets find it


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just created, with its secret, which cannot be retrieved again."""

    key: Key
    secret: str


class KeyStore:
    """Keys in the workspace's database, without their secrets."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(
        self, name: str, *, scope: Scope = "use", tenant: str = "", groups: Sequence[str] = ()
    ) -> NewKey:
        """Create a key.

        Raises:
            InputError: the name is taken or not valid.
        """
        if not _NAME.fullmatch(name):
            raise InputError(
                f"'{name}' is not a valid name for a key",
                fix="Use 1 to 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit.",
            )
        secret = _PREFIX + secrets.token_urlsafe(32)
        key = Key(name, scope, tenant, tuple(groups), time.time())
        row = {
            "name": name,
            "sha256": hash_secret(secret),
            "scope": scope,
            "tenant": tenant,
            "groups": list(groups),
            "created_at": key.created_at,
        }
        try:
            with self._database.write() as connection:
                connection.execute(sa.insert(schema.keys).values(**row))
        except IntegrityError as error:
            raise InputError(
                f"the name '{name}' is already taken, or was once",
                fix="Choose another: names are not reused, as feedback refers to them.",
            ) from error
        return NewKey(key, secret)

    def document_groups(self) -> set[str]:
        """The groups that any document is open to."""
        with self._database.read() as connection:
            return set(connection.execute(sa.select(schema.access.c.group).distinct()).scalars())

    def _rows(self) -> list[tuple[str, Key]]:
        """The hash of each key's secret and the key, the oldest first."""
        table = schema.keys
        with self._database.read() as connection:
            rows = connection.execute(sa.select(table).order_by(table.c.created_at, table.c.name))
            return [(row["sha256"], _key(dict(row))) for row in rows.mappings()]

    def list(self) -> list[Key]:
        """All keys, the oldest first, including those that are revoked."""
        return [key for _, key in self._rows()]

    def valid(self) -> dict[str, Key]:
        """Keys that are not revoked, by the hash of their secret."""
        return {digest: key for digest, key in self._rows() if key.revoked_at is None}

    def revoke(self, name: str) -> Key:
        """Revoke a key and return it.

        Raises:
            NotFoundError: the key does not exist or is revoked already.
        """
        table = schema.keys
        is_valid = sa.and_(table.c.name == name, table.c.revoked_at.is_(None))
        with self._database.write() as connection:
            row = connection.execute(sa.select(table).where(is_valid)).mappings().one_or_none()
            if row is None:
                raise NotFoundError(f"no valid key '{name}'", fix="'moli key list' shows all.")
            now = time.time()
            connection.execute(sa.update(table).where(is_valid).values(revoked_at=now))
        return _key({**row, "revoked_at": now})


def hash_secret(secret: str) -> str:
    """SHA-256 of a secret, in hexadecimal."""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def _key(row: dict[str, Any]) -> Key:
    """A key from its row in the table `keys`."""
    return Key(
        row["name"],
        row["scope"],
        row["tenant"],
        tuple(row["groups"]),
        row["created_at"],
        row["revoked_at"],
    )
