"""Locks between processes, whose files say who holds them."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from moli.records.errors import WorkspaceError
from moli.workspace.disk_space import suppress_full_disk


@dataclass(frozen=True, slots=True)
class Holder:
    """The process that holds a lock, by its id and the name of its machine."""

    process: int
    machine: str

    def __str__(self) -> str:
        here = self.machine == socket.gethostname()
        return f"process {self.process} on {'this machine' if here else self.machine}"


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
            f"{subject} is in use by {_read_holder(holder) or 'another process'}{waited}",
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


def find_holder(path: Path) -> Holder | None:
    """The process that holds a lock now; None if none does."""
    holder = _read_holder(path.with_suffix(".pid"))
    if holder is None or holder.process == os.getpid():
        return holder
    try:
        with FileLock(path, timeout=0):
            return None  # it was killed: its own file is still there
    except Timeout:
        return holder
    except OSError:  # the folder may only be read
        return holder if _is_alive(holder) else None


def _read_holder(path: Path) -> Holder | None:
    """The process that a file beside a lock names; None without one, or while it is written."""
    try:
        process, machine = path.read_text(encoding="utf-8").split(maxsplit=1)
        return Holder(int(process), machine)
    except (OSError, ValueError):
        return None


def _is_alive(holder: Holder) -> bool:
    """Whether a process still runs; one of another machine is taken to."""
    if holder.machine != socket.gethostname():
        return True
    try:
        os.kill(holder.process, 0)
    except PermissionError:  # it is another user's
        return True
    except OSError:
        return False
    return True
