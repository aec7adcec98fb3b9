"""Aliases: names for models, which can be moved to another model, and back."""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from moli.records.errors import InputError
from moli.workspace import schema

_ALIAS = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_WHOLE_HASH = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class AliasTarget:
    """A model that an alias points at from some time on.

    Attributes:
        hash: hash of the model's content; empty if the alias points at nothing.
        set_at: seconds since 1970.
    """

    alias: str
    hash: str
    set_at: float


def check_alias(alias: str) -> None:
    """Check that a name can be an alias.

    Raises:
        InputError: the name is not valid; the message says what a name may contain.
    """
    if not _ALIAS.fullmatch(alias) or _WHOLE_HASH.fullmatch(alias):
        raise InputError(
            f"'{alias}' is not a valid alias",
            fix="Use 1 to 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit "
            "([a-z0-9][a-z0-9._-]{0,63}), and no whole hash.",
        )


def alias_history(connection: sa.Connection) -> list[AliasTarget]:
    """Every target that any alias has ever had, the oldest first."""
    table = schema.aliases
    query = sa.select(table.c.name, table.c.hash, table.c.set_at).order_by(table.c.id)
    return [AliasTarget(row.name, row.hash, row.set_at) for row in connection.execute(query)]


def current_targets(rows: Sequence[AliasTarget]) -> dict[str, str]:
    """Aliases to the hashes they point at now, from their whole history."""
    newest = {row.alias: row.hash for row in rows}
    return {alias: content_hash for alias, content_hash in newest.items() if content_hash}


def current_aliases(connection: sa.Connection) -> dict[str, str]:
    """Aliases to the hashes they point at now."""
    return current_targets(alias_history(connection))


def aliases_of(content_hash: str, current: Mapping[str, str]) -> tuple[str, ...]:
    """The aliases that point at a model, sorted.

    Args:
        current: aliases to the hashes they point at now.
    """
    return tuple(sorted(alias for alias, hash_ in current.items() if hash_ == content_hash))


def set_alias(connection: sa.Connection, alias: str, content_hash: str) -> None:
    """Point an alias at a model (at nothing if `content_hash` is empty), unless it already does."""
    if current_aliases(connection).get(alias) == content_hash:
        return
    row = {"name": alias, "hash": content_hash, "set_at": time.time()}
    connection.execute(sa.insert(schema.aliases).values(**row))
