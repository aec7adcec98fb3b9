"""Zip archives read with limits, so that an archive bomb is refused before it is unpacked."""

import io
import posixpath
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, cast

from moli.parsing.limits import Limits
from moli.records.errors import DocumentError

MAX_ENTRIES = 20_000
# XML of a large sheet packs up to about 60 to 1; deflate itself can reach 1032 to 1.
MAX_RATIO = 200
RATIO_FLOOR = 32 << 20


class Archive:
    """A zip file whose parts are read by name, and whose unpacked bytes are counted and limited."""

    def __init__(self, data: bytes, limits: Limits) -> None:
        with _zip_errors():
            self._zip = zipfile.ZipFile(io.BytesIO(data))
        self._bytes_left = limits.unpacked_bytes
        entries = self._zip.infolist()
        declared = sum(entry.file_size for entry in entries)
        ratio = declared / max(1, len(data))
        if len(entries) > MAX_ENTRIES:
            raise _bomb_error(f"the archive has {len(entries):,} entries")
        if declared > limits.unpacked_bytes or (declared > RATIO_FLOOR and ratio > MAX_RATIO):
            raise _bomb_error(f"{len(data):,} bytes would unpack to {declared:,}")
        self._entries = {entry.filename.lstrip("/"): entry for entry in entries}
        # Part names are case-insensitive by the standard, and some writers rely on it.
        self._entries_by_lower_name = {name.lower(): entry for name, entry in self._entries.items()}

    def __contains__(self, name: str) -> bool:
        return name.lower() in self._entries_by_lower_name

    def names(self) -> list[str]:
        """Names of all parts, in the order of the archive."""
        return list(self._entries)

    def has_utf8_name(self, name: str) -> bool:
        """Whether the archive says that the name of a part is in UTF-8."""
        return bool(self._entries[name].flag_bits & 0x800)

    def read(self, name: str) -> bytes:
        """The bytes of one part."""
        with self.open(name) as part:
            return part.read()

    @contextmanager
    def open(self, name: str) -> Iterator[IO[bytes]]:
        """A part as a stream, which fails once the archive has unpacked more than is allowed."""
        entry = self._entries_by_lower_name.get(name.lower())
        if entry is None:
            raise DocumentError("broken", f"it has no part named {name}", fix=REPAIR)
        if entry.flag_bits & 1:
            raise DocumentError("encrypted", "it is encrypted", fix=DECRYPT)
        with _zip_errors(), self._zip.open(entry) as part:
            yield cast(IO[bytes], _CountedStream(part, self))

    def count_unpacked(self, amount: int) -> None:
        """Count `amount` unpacked bytes; raise `DocumentError` once they exceed the limit."""
        self._bytes_left -= amount
        if self._bytes_left < 0:
            raise _bomb_error("it unpacks to more than it declares or than is allowed")


class _CountedStream(io.RawIOBase):
    """A stream of an archive part that reports the bytes it reads to the archive."""

    def __init__(self, part: IO[bytes], archive: Archive) -> None:
        self._part, self._archive = part, archive

    def readable(self) -> bool:
        """True, as `io.RawIOBase` requires."""
        return True

    def read(self, size: int = -1) -> bytes:
        """Up to `size` bytes, or all if it is negative, counted by the archive."""
        pieces = []
        while size != 0:
            data = self._part.read(1 << 16 if size < 0 else min(size, 1 << 16))
            if not data:
                break
            self._archive.count_unpacked(len(data))
            pieces.append(data)
            size = size if size < 0 else size - len(data)
        return b"".join(pieces)


REPAIR = "Open it in the program that made it and save it again."
DECRYPT = "Remove the password in the program that made it and save a copy."


def resolve_part(base: str, target: str) -> str:
    """Name of the part that a path `target` in part `base` refers to."""
    if target.startswith("/"):
        return target.lstrip("/")
    return posixpath.normpath(posixpath.join(posixpath.dirname(base), target))


def _bomb_error(what: str) -> DocumentError:
    """The refusal of an archive that would unpack to too much, for the reason `what`."""
    return DocumentError(
        "bomb", what, fix="If the file is sound, split it into smaller ones and add those."
    )


@contextmanager
def _zip_errors() -> Iterator[None]:
    """Turn errors of the zip library into a `DocumentError`."""
    try:
        yield
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, ValueError) as error:
        raise DocumentError("broken", f"the archive is damaged ({error})", fix=REPAIR) from error
