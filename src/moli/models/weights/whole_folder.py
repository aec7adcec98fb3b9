"""Folders that are there whole or not at all."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from moli.records.errors import ModelError
from moli.workspace.content import sync_folder
from moli.workspace.disk_space import says_disk_full

_SPARE = 64 << 20  # bytes that are left on the disk


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """A draft to fill in place of a folder; once the block has ended, it is that folder.

    If the block raises an error, the draft is removed; one that a killed process has left is
    removed by the next call. Two processes must not write the same folder at once.

    Raises:
        OSError: the folder cannot be written, or is there already.
    """
    draft = target.with_name(f".{target.name}.draft")
    shutil.rmtree(draft, ignore_errors=True)
    draft.mkdir(parents=True)
    try:
        yield draft
        sync_folder(draft)
        draft.rename(target)
    finally:
        shutil.rmtree(draft, ignore_errors=True)


@contextmanager
def explain_failures(folder: Path) -> Iterator[None]:
    """Turn failures to write below a folder into errors that say what to do.

    Raises:
        ModelError: the disk is full, or the folder cannot be written to.
    """
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise ModelError(
            "the disk is full" if says_disk_full(error) else f"cannot be written ({error})",
            where=str(folder),
            fix="Free some space, or set MOLI_MODELS to another folder.",
        ) from error


def check_space(folder: Path, needed: int) -> None:
    """Check that a disk has room for some bytes.

    Raises:
        ModelError: it does not.
    """
    free = shutil.disk_usage(folder).free
    if free < needed + _SPARE:
        raise ModelError(
            f"the disk has {free / 1e6:,.0f} MB left, and {(needed + _SPARE) / 1e6:,.0f} MB are "
            "needed",
            where=str(folder),
            fix="Free some space, or set MOLI_MODELS to a folder on another disk.",
        )
