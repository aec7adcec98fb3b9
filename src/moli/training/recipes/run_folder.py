"""A run's folder: its lock, and its files apart from its checkpoints and its listeners' files."""

from __future__ import annotations

import errno
import json
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, Literal

from moli.models.weights.json_files import write_json
from moli.records.errors import InputError, NotFoundError, WorkspaceError
from moli.workspace import Workspace
from moli.workspace.locks import hold_lock

Command = Literal["tune", "align"]  # of the command line, that starts a run

REQUESTED = "asked.json"  # the recipe as it was given
RESOLVED = "settled.json"  # the resolved recipe
ESTIMATE = "estimate.json"  # the expected time and memory
LOCK = "run.lock"  # held by the process that works on the run
HASHES = "hashes.json"  # hashes of the data, the base and the template


def check_unchanged(folder: Path, hashes: Mapping[str, str]) -> None:
    """Refuse to resume a run whose data, base or template has changed.

    Args:
        hashes: the hash of each by its name; they are written down when the run starts.

    Raises:
        InputError: a hash differs from the one at the start.
    """
    path = folder / HASHES
    if not path.exists():
        write_json(path, hashes)
    before = json.loads(path.read_text(encoding="utf-8"))
    if changed := [name for name in hashes if hashes[name] != before.get(name)]:
        raise InputError(
            f"changed since the run started: {', '.join(changed)}",
            where=str(folder),
            fix="Restore it, or start a new run.",
        )


def make_run_folder(workspace: Workspace, run: str = "") -> Path:
    """The folder of a new run.

    Args:
        run: the run's id; "" for a new one that begins with the time.

    Raises:
        WorkspaceError: it cannot be made.
    """
    run = run or time.strftime("%Y%m%d-%H%M%S-") + secrets.token_hex(2)
    folder = workspace.folder / "runs" / run
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkspaceError(
            f"a run cannot be kept there ({error.strerror})",
            where=str(folder.parent),
            fix="Check the folder's permissions, or use another workspace.",
        ) from error
    return folder


def existing_run_folder(workspace: Workspace, run: str) -> Path:
    """The folder of a run with this id.

    Raises:
        NotFoundError: there is no such run.
    """
    folder = workspace.folder / "runs" / run
    if not run or not (folder / REQUESTED).is_file():
        raise NotFoundError("no such run", where=run or "run", fix="See 'moli runs'.")
    return folder


def lock_run(folder: Path) -> AbstractContextManager[None]:
    """The lock of the process that works on a run."""
    return hold_lock(folder / LOCK, "the run", where=folder.name)


@contextmanager
def disk_errors(folder: Path, command: Command) -> Iterator[None]:
    """Raise a WorkspaceError where a disk is full or may not be written to.

    Args:
        command: resumes the run.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
            raise
        raise WorkspaceError(
            f"it cannot be written to ({error.strerror})",
            where=str(folder),
            fix=f"Free some space or correct its permissions, then: moli {command} --resume "
            f"{folder.name}",
        ) from error


def command_of(requested: Mapping[str, Any]) -> Command:
    """The command that started a run.

    Args:
        requested: the recipe as it was given.
    """
    return "tune" if "task" in requested else "align"


def check_command(folder: Path, command: Command) -> None:
    """Check that a run was started by a command, and so can be resumed by it.

    Raises:
        InputError: another one started it.
    """
    started = command_of(json.loads((folder / REQUESTED).read_text(encoding="utf-8")))
    if started != command:
        raise InputError(
            f"a run of 'moli {started}'",
            where=folder.name,
            fix=f"Continue with: moli {started} --resume {folder.name}",
        )
