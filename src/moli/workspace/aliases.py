"""Aliases: names that are pointed at a model and moved on to the next, or back."""

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
class Pointing:
    """What an alias points at from `set_at` on, in seconds since 1970; an empty hash: nothing."""

    alias: str
    hash: str
    set_at: float


def check_alias(alias: str) -> None:
    """Check that a name can be an alias.

    Raises:
        InputError: it cannot; the message says what a name may contain.
    """
    if not _ALIAS.fullmatch(alias) or _WHOLE_HASH.fullmatch(alias):
        raise InputError(
            f"'{alias}' is not a valid alias",
            fix="Use 1 to 64 of a-z, 0-9, '.', '_' and '-', beginning with a letter or digit "
            "([a-z0-9][a-z0-9._-]{0,63}), and no whole hash.",
        )


def pointings(connection: sa.Connection) -> list[Pointing]:
    """All that any alias has pointed at, the oldest first."""
    table = schema.aliases
    query = sa.select(table.c.name, table.c.hash, table.c.set_at).order_by(table.c.id)
    return [Pointing(row.name, row.hash, row.set_at) for row in connection.execute(query)]


def in_force(rows: Sequence[Pointing]) -> dict[str, str]:
    """Alias to hash; a later row takes the place of an earlier one."""
    newest = {row.alias: row.hash for row in rows}
    return {alias: content for alias, content in newest.items() if content}


def current_aliases(connection: sa.Connection) -> dict[str, str]:
    """Alias to the hash it points at now."""
    return in_force(pointings(connection))


def aliases_of(content: str, current: Mapping[str, str]) -> tuple[str, ...]:
    """The aliases that point at a model, sorted."""
    return tuple(sorted(alias for alias, hash_ in current.items() if hash_ == content))


def point(connection: sa.Connection, alias: str, content: str) -> None:
    """Add to an alias's history what it points at from now on, unless it does already."""
    if current_aliases(connection).get(alias) == content:
        return
    row = {"name": alias, "hash": content, "set_at": time.time()}
    connection.execute(sa.insert(schema.aliases).values(**row))
