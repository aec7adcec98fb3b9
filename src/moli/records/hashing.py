"""Hashes of files by their content."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from functools import cache
from pathlib import Path


def hash_file(path: Path) -> bytes:
    """SHA-256 of a file, read again only when its time of change or its size has changed.

    Raises:
        OSError: the file cannot be read.
    """
    status = path.stat()
    return _hash_file(path, status.st_mtime_ns, status.st_size)


def hash_files(files: Iterable[Path]) -> str:
    """SHA-256 of the hashes of files, in the given order."""
    return hashlib.sha256(b"".join(map(hash_file, files))).hexdigest()


def hash_weight_files(folder: Path) -> str:
    """SHA-256 of a model's weight files in order of name; "" if the folder has none."""
    files = sorted(folder.glob("*.safetensors"))
    return hash_files(files) if files else ""


@cache
def _hash_file(path: Path, _changed: int, _size: int) -> bytes:
    """SHA-256 of a file, cached as long as its time of change and its size stay the same."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
