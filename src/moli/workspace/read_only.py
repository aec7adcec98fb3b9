"""A workspace that may be read but not written to, such as one on a read-only or full disk."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from urllib.parse import quote

from sqlalchemy import URL

from moli.records.errors import WorkspaceError
from moli.workspace.disk_space import disk_full_error, is_disk_full


def may_write(*paths: Path) -> bool:
    """Whether all paths that exist may be written to."""
    return all(os.access(path, os.W_OK) for path in paths if path.exists())


def read_only_error(root: Path) -> WorkspaceError:
    """The error of whatever would write to a workspace that is read-only, or on a full disk."""
    if is_disk_full(root):
        return disk_full_error(root)
    return WorkspaceError(
        "the workspace is read-only",
        where=str(root),
        fix="It can be listed, searched and asked; to change it, copy it or get permission.",
    )


def read_only_url(path: Path, make_scratch: Callable[[], Path]) -> URL:
    """The URL by which an SQLite database is read without writing beside it.

    The file beside it that its readers share must exist, or be made, while it is written to. If it
    cannot be, nobody is writing: the file is all there is, or its write-ahead log has the rest, and
    both are copied.

    Args:
        make_scratch: returns a folder for a copy.

    Raises:
        WorkspaceError: there is no database.
    """
    if not path.exists():
        raise WorkspaceError(
            "the workspace is read-only and has no database yet",
            where=str(path.parent.parent),
            fix="Get permission to write to it, and run 'moli add' there.",
        )
    if _can_be_read(_uri(path, "mode=ro")):
        return _url(_uri(path, "mode=ro"))
    log = path.with_name(f"{path.name}-wal")
    if not (log.exists() and log.stat().st_size):
        return _url(_uri(path, "mode=ro&immutable=1"))
    scratch = make_scratch()
    for source in (path, log):
        shutil.copyfile(source, scratch / source.name)
    return _url(_uri(scratch / path.name, "mode=rw"))


def _can_be_read(uri: str) -> bool:
    """Whether SQLite can open a database."""
    try:
        with closing(sqlite3.connect(uri, uri=True)) as connection:
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
    except sqlite3.OperationalError:
        return False
    return True


def _uri(path: Path, options: str) -> str:
    """SQLite's own URI of a file."""
    return f"file:{quote(str(path.absolute()))}?{options}"


def _url(uri: str) -> URL:
    """The SQLAlchemy URL of an SQLite URI."""
    file, _, options = uri.partition("?")
    query = dict(option.split("=") for option in options.split("&"))
    return URL.create("sqlite", database=file, query={**query, "uri": "true"})
