"""Files that are written whole or not at all."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def whole_file(path: Path) -> Iterator[Path]:
    """A draft to write in place of a file; once the block has ended, it is that file.

    If the block raises an error, the draft is removed and the file is as it was. A link stays one:
    its target is replaced.

    Raises:
        OSError: the folder cannot be written to, or the disk is full.
    """
    target = Path(os.path.realpath(path))
    # A name may have 255 bytes, and 32 characters have 128 at most.
    draft = target.with_name(f".{target.name[:32]}.{os.getpid()}.part")
    try:
        yield draft
        with draft.open("rb+") as file:
            os.fsync(file.fileno())
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def remove_drafts(folder: Path) -> None:
    """Remove drafts that processes which were killed have left in a folder."""
    for path in folder.glob(".*.part"):
        path.unlink(missing_ok=True)
