"""Locks between processes, whose files say who holds them."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from moli.records.errors import WorkspaceError
from moli.workspace.disk_space import suppress_full_disk


@contextmanager
def hold_lock(path: Path, subject: str, *, where: str, timeout: float = 0.0) -> Iterator[None]:
    """Hold a lock that ends with this process, however it ends.

    Args:
        path: the lock's file; the holder's process id and machine are written beside it, unless
            the disk is full.
        subject: what is locked, for the error.
        where: the place that the error names.
        timeout: seconds to wait for another holder.

    Raises:
        WorkspaceError: another process holds it, or the file cannot be written.
    """
    holder = path.with_suffix(".pid")
    lock = FileLock(path, timeout=timeout)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
        with suppress_full_disk():
            holder.write_text(f"{os.getpid()} {socket.gethostname()}", encoding="utf-8")
    except Timeout:
        waited = f" for {timeout:.0f} s" if timeout >= 1 else ""
        raise WorkspaceError(
            f"{subject} is in use by {_describe_holder(holder)}{waited}",
            where=where,
            fix="Wait for it to end, or stop it.",
        ) from None
    except OSError as error:
        lock.release()
        raise WorkspaceError(
            f"{subject} cannot be locked ({error.strerror or error})",
            where=where,
            fix="Check the disk space and the folder's permissions.",
        ) from error
    try:
        yield
    finally:
        holder.unlink(missing_ok=True)
        lock.release()


def _describe_holder(path: Path) -> str:
    """The process that holds a lock, from the file beside it."""
    try:
        pid, host = path.read_text(encoding="utf-8").split(maxsplit=1)
    except (OSError, ValueError):  # it is being written
        return "another process"
    here = "this machine" if host == socket.gethostname() else host
    return f"process {pid} on {here}"
