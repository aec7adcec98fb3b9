"""Whether there is space on the disk."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryFile

from sqlalchemy.exc import DatabaseError

from moli.records.errors import WorkspaceError

_LEAST_BYTES = 64 << 10  # what SQLite writes beside a database that is only read, and some more
_FULL = (errno.ENOSPC, errno.EDQUOT)
# What is said of a full disk by libraries that do not pass the system's number on.
_FULL_MESSAGES = (*map(os.strerror, _FULL), "database or disk is full")


def is_disk_full(folder: Path) -> bool:
    """Whether a folder that may be written to has no space for the least that a command writes."""
    try:
        with TemporaryFile(dir=folder) as file:
            file.write(bytes(_LEAST_BYTES))
            file.flush()
    except OSError as error:
        return error.errno in _FULL
    return False


def says_disk_full(error: Exception) -> bool:
    """Whether an error of any library says that a disk is full."""
    return any(message in str(error) for message in _FULL_MESSAGES)


@contextmanager
def suppress_full_disk() -> Iterator[None]:
    """Leave the block, and go on behind it, if the disk is full."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise


def disk_full_error(folder: Path) -> WorkspaceError:
    """The error of whatever would write to a full disk."""
    return WorkspaceError(
        "the disk is full",
        where=str(folder),
        fix="Free some space. Until then the workspace can be listed, searched and asked.",
    )


@contextmanager
def explain_full_disk(folder: Path) -> Iterator[None]:
    """Turn any library's error that a disk is full into one that says so.

    Raises:
        WorkspaceError: the disk is full.
    """
    try:
        yield
    except (OSError, RuntimeError, ValueError, DatabaseError) as error:
        if not says_disk_full(error) and not is_disk_full(folder):
            raise
        raise disk_full_error(folder) from error
