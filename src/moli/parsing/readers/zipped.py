"""Zip archives of documents: each file under its path as heading."""

from collections.abc import Iterator
from pathlib import PurePosixPath

from moli.parsing.archive import Archive
from moli.parsing.blocks import Blocks
from moli.parsing.encodings import decode
from moli.parsing.limits import Limits
from moli.records.errors import DocumentError

_MAX_FILES = 2000
_MAX_NAMED = 20
# What programs put beside the files of a user.
_IGNORED = {"__MACOSX", "Thumbs.db", "desktop.ini"}


def read(data: bytes, blocks: Blocks, limits: Limits) -> None:
    """Add the files of the archive in `data` to `blocks`; one that cannot be read is a warning."""
    archive = Archive(data, limits)
    parts = list(_files(archive))
    left_out: list[str] = []
    for part, name in parts[:_MAX_FILES]:
        blocks.on_ocr()  # Each file has time of its own.
        try:
            document = blocks.parse_contained(archive.read(part), name)
        except DocumentError as error:
            left_out.append(f"{name}: {error.what}")
            continue
        blocks.add_heading(name, 1)
        blocks.add_document(document, name, below=1)
    left_out += [f"{name}: it is beyond the {_MAX_FILES:,}th" for _, name in parts[_MAX_FILES:]]
    if not left_out:
        return
    more = len(left_out) - _MAX_NAMED
    names = "; ".join(left_out[:_MAX_NAMED]) + (f"; and {more} more" if more > 0 else "")
    if len(left_out) == len(parts):
        raise DocumentError(
            "unsupported", f"none of its files can be read: {names}", fix="Leave this file out."
        )
    blocks.warn(f"files in it were left out: {names}")


def _files(archive: Archive) -> Iterator[tuple[str, str]]:
    """Part names of the files in an archive, without hidden ones, and their paths to show."""
    for part in archive.names():
        path = PurePosixPath(name := _shown_name(archive, part))
        is_hidden = any(each.startswith(".") or each in _IGNORED for each in path.parts)
        if not part.endswith("/") and not is_hidden:
            yield part, name


def _shown_name(archive: Archive, part: str) -> str:
    """The path of a part; where the archive does not say that it is UTF-8, it is guessed."""
    if archive.has_utf8_name(part) or part.isascii():
        return part
    try:
        return decode(part.encode("cp437"))
    except UnicodeEncodeError:
        return part
