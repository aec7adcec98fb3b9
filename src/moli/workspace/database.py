"""The workspace's database: SQLite in a file, or PostgreSQL at a URL.

All documents, traces and other records are stored in it; search indexes are derived from it. The
table `changes` is the change log: a numbered list of passages that were added or removed, which the
indexes follow.

Readers never wait. One transaction writes at a time, so the changes are committed in the order of
their numbers: an index that has applied change 7 has missed none of the changes 1 to 6.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy import event
from sqlalchemy.exc import ArgumentError, DatabaseError

from moli.records.errors import WorkspaceError
from moli.workspace import schema
from moli.workspace.disk_space import explain_full_disk
from moli.workspace.read_only import read_only_error

REVISION = "0006"
_BUSY_TIMEOUT_MS = 60_000
_MIGRATION_LOCK = 0x6D6F6C69  # "moli": PostgreSQL's advisory locks are named by numbers


class Database:
    """The database at a SQLAlchemy URL.

    Args:
        read_only: the workspace that cannot be written to, if the database cannot.

    Raises:
        WorkspaceError: the URL names no supported database; later, on use, if the database cannot
            be reached or was written by a newer Moli.
    """

    def __init__(self, url: str | sa.URL, *, read_only: Path | None = None) -> None:
        self._read_only = read_only
        try:
            self.engine = sa.create_engine(_with_driver(url))
        except (ArgumentError, ImportError) as error:
            raise WorkspaceError(
                f"not a usable database ({error})",
                where="database",
                fix="Leave it empty for SQLite, or give postgresql://USER@HOST/NAME "
                "(needs: pip install 'moli[scale]').",
            ) from error
        if self.engine.dialect.name not in ("sqlite", "postgresql"):
            raise WorkspaceError(
                f"{self.engine.dialect.name} is not supported",
                where="database",
                fix="Leave it empty for SQLite, or give a postgresql:// address.",
            )
        if self.is_sqlite:
            configure = _leave_transactions_to_us if read_only else _configure_sqlite
            event.listen(self.engine, "connect", configure)
            event.listen(self.engine, "begin", _begin_sqlite)

    @property
    def is_sqlite(self) -> bool:
        """Whether the database is SQLite, and not PostgreSQL."""
        return self.engine.dialect.name == "sqlite"

    @contextmanager
    def read(self) -> Iterator[sa.Connection]:
        """A transaction that reads a consistent snapshot."""
        with self.engine.connect() as connection:
            if not self.is_sqlite:
                connection.execution_options(isolation_level="REPEATABLE READ")
            with connection.begin():
                yield connection

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """A transaction that commits whole or not at all; other writers wait for it.

        Raises:
            WorkspaceError: the database is read-only, or the disk is full.
        """
        if self._read_only:
            raise read_only_error(self._read_only)
        folder = Path(self.engine.url.database or "").parent
        with explain_full_disk(folder), self.engine.connect() as connection:
            connection.execution_options(write=True)
            with connection.begin():
                if not self.is_sqlite:
                    connection.exec_driver_sql("LOCK TABLE changes IN EXCLUSIVE MODE")
                yield connection

    @property
    def is_read_only(self) -> bool:
        """Whether nothing can be written to it."""
        return self._read_only is not None

    def identity(self) -> str:
        """A random name, drawn when the database was created, that no other database has.

        Indexes are kept under it, so that they are not used with another database.
        """
        with self.read() as connection:
            return str(connection.execute(sa.select(schema.identity.c.name)).scalar_one())

    def migrate(self) -> None:
        """Migrate the schema to this version's revision; does nothing if it is up to date."""
        current = self._revision()
        if current == REVISION:
            return
        if self._read_only:
            raise WorkspaceError(
                f"its database has the schema {current or 'of nothing'}, and is read-only",
                where=str(self._read_only),
                fix="Open it once with permission to write, which brings it up to date.",
            )
        from alembic import command
        from alembic.config import Config

        config = Config()
        config.set_main_option("script_location", str(files("moli.workspace") / "migrations"))
        with self.engine.connect() as connection:
            connection.execution_options(write=True)
            if not self.is_sqlite:  # SQLite's writers queue by themselves
                connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATION_LOCK)))
            config.attributes["connection"] = connection
            command.upgrade(config, "head")

    def _revision(self) -> str | None:
        """The schema's revision; None in an empty database."""
        try:
            with self.read() as connection:
                if not sa.inspect(connection).has_table("alembic_version"):
                    return None
                row = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
        except DatabaseError as error:
            raise WorkspaceError(
                f"the database cannot be opened ({error.orig})",
                where=self.engine.url.render_as_string(hide_password=True),
                fix="Check 'database' in moli.toml and that the server is running.",
            ) from error
        if row is not None and row > REVISION:
            raise WorkspaceError(
                f"the database has schema {row}, newer than this version's {REVISION}",
                where=self.engine.url.render_as_string(hide_password=True),
                fix="Upgrade Moli.",
            )
        return str(row) if row is not None else None

    def scrub(self) -> None:
        """Erase removed rows from the disk, which the database otherwise does some time later.

        SQLite's write-ahead log is emptied; PostgreSQL's tables are vacuumed.
        """
        if self.is_sqlite:
            connection = self.engine.raw_connection()
            try:
                connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")
            finally:
                connection.close()
        else:
            options = {"isolation_level": "AUTOCOMMIT"}
            with self.engine.connect().execution_options(**options) as autocommit:
                autocommit.exec_driver_sql("VACUUM")

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def _with_driver(url: str | sa.URL) -> sa.URL:
    """The URL with psycopg as the driver if it is PostgreSQL's and names none."""
    parsed = sa.make_url(url)
    is_unspecified = parsed.drivername in ("postgresql", "postgres")
    return parsed.set(drivername="postgresql+psycopg") if is_unspecified else parsed


def _leave_transactions_to_us(connection: Any, _record: Any) -> None:
    """Turn the driver's own transaction control off: `_begin_sqlite` begins transactions."""
    connection.isolation_level = None


def _configure_sqlite(connection: Any, _record: Any) -> None:
    """Set a new connection's pragmas: write-ahead log, durability, foreign keys, lock timeout."""
    _leave_transactions_to_us(connection, _record)
    for pragma in (
        "journal_mode=WAL",
        "synchronous=FULL",
        "foreign_keys=ON",
        "secure_delete=ON",  # removed rows are overwritten, not just unlinked
        f"busy_timeout={_BUSY_TIMEOUT_MS}",
    ):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    """Begin a transaction in SQLite; one that writes takes the write lock at once."""
    # A writer takes its lock at once: upgrading a read transaction later could fail as busy.
    write = connection.get_execution_options().get("write", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if write else "BEGIN")
