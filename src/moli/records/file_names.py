"""Names of files as text, in any locale.

Python reads the bytes of a name in the locale's encoding, and keeps those that have no character
there as surrogates. What is stored and shown is UTF-8, as the bytes of nearly all names are.
"""

from __future__ import annotations

import os
from pathlib import Path


def file_name_text(path: Path | str) -> str:
    """A path as text; bytes that are not UTF-8 are replaced, since no database accepts them."""
    return os.fsencode(_encodable(str(path))).decode("utf-8", "replace")


def path_of_text(text: str) -> Path:
    """The path whose name is that text; the inverse of `file_name_text`."""
    return Path(os.fsdecode(text.encode("utf-8", "surrogateescape")))


def path_of_argument(text: str) -> Path:
    """The path that a person names, in characters that the locale need not have."""
    return Path(_encodable(text))


def has_utf8_name(path: Path) -> bool:
    """Whether a path is UTF-8, so that its text names it."""
    return path_of_text(file_name_text(path)) == path


def _encodable(name: str) -> str:
    """A name in the locale's encoding; as its UTF-8 is read there if it has other characters."""
    try:
        os.fsencode(name)
    except UnicodeEncodeError:
        return str(path_of_text(name))
    return name
