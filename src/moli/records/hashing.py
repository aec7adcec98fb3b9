"""Hashes of files by their content."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path


def hash_file(path: Path) -> bytes:
    """SHA-256 of a file, read again only when its time of change or its size has changed.

    Raises:
        OSError: the file cannot be read.
    """
    status = path.stat()
    return _hash_file(path, status.st_mtime_ns, status.st_size)


@cache
def _hash_file(path: Path, _changed: int, _size: int) -> bytes:
    """SHA-256 of a file, cached as long as its time of change and its size stay the same."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").digest()
