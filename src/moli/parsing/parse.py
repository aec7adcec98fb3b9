"""Parsing a file in this process: the format is detected, and its reader builds the document."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

from moli.parsing.blocks import Blocks
from moli.parsing.formats import detect, load_reader
from moli.parsing.limits import DEFAULT_LIMITS, Limits
from moli.records.documents import ParsedDocument
from moli.records.errors import DocumentError
from moli.records.file_names import file_name_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_MAX_DEPTH = 5  # Files inside files, such as an archive in a mail in an archive.


def parse_file(
    path: Path, limits: Limits = DEFAULT_LIMITS, *, on_ocr: Callable[[], None] | None = None
) -> ParsedDocument:
    """Parse a file in this process.

    Use `Sandbox` for files that are not trusted: here a parser that crashes or hangs takes
    the whole process along.

    Args:
        path: the file.
        limits: only the sizes apply here; time and memory are limited by a `Sandbox`.
        on_ocr: called before each page that needs OCR.

    Raises:
        DocumentError: if the file cannot be read; `reason` says why.
    """
    return parse_bytes(_read_file(path, limits), file_name_text(path.name), limits, on_ocr=on_ocr)


def read_recording(
    path: Path, sampling_rate: int, limits: Limits = DEFAULT_LIMITS
) -> NDArray[np.float32]:
    """The samples of a recording in this process, [samples].

    Args:
        sampling_rate: samples per second of the result.

    Raises:
        DocumentError: if it cannot be read as a recording; `reason` says why.
    """
    from moli.models.speech.audio import read_audio

    name = file_name_text(path.name)
    data = _read_file(path, limits)
    with _located_errors(name):
        try:
            return read_audio(BytesIO(data), sampling_rate)
        except DocumentError:
            detect(data, name)  # which says what the file is instead, if its name is wrong
            raise


def _read_file(path: Path, limits: Limits) -> bytes:
    """The content of a file.

    Raises:
        DocumentError: if it cannot be read, or is too large.
    """
    name = file_name_text(path.name)
    try:
        size = path.stat().st_size
        if size > limits.file_bytes:
            raise DocumentError(
                "too_large",
                f"it has {size:,} bytes; at most {limits.file_bytes:,} are read",
                where=name,
                fix="Split it into smaller files.",
            )
        if not path.is_file():
            raise DocumentError("unsupported", "it is not a file", where=name, fix="Name a file.")
        return path.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DocumentError(
            "missing", f"it cannot be opened ({reason})", where=name,
            fix="Check the path and your right to read it.",
        ) from error  # fmt: skip


def parse_bytes(
    data: bytes,
    name: str,
    limits: Limits = DEFAULT_LIMITS,
    *,
    on_ocr: Callable[[], None] | None = None,
    depth: int = 0,
) -> ParsedDocument:
    """Parse a file held in memory; `name` provides its suffix and is used in errors.

    Args:
        depth: number of files around this one, such as a mail that it is attached to.
    """
    if depth > _MAX_DEPTH:
        raise DocumentError(
            "unsupported", "it is nested too deep", where=name, fix="Add it by itself."
        )
    with _located_errors(name):
        blocks = Blocks(
            on_ocr or (lambda: None),
            lambda content, its_name: parse_bytes(
                content, its_name, limits, on_ocr=on_ocr, depth=depth + 1
            ),
        )
        read = load_reader(detect(data, name))
        read(data, blocks, limits)
        document = blocks.build()
        if not document.text:
            raise DocumentError("empty", "no text was found in it", fix="Leave this file out.")
        return document


@contextmanager
def _located_errors(name: str) -> Iterator[None]:
    """Have errors say which file they are about.

    Raises:
        DocumentError: also for a lack of memory.
    """
    try:
        yield
    except DocumentError as error:
        if error.where:
            raise
        raise DocumentError(error.reason, error.what, where=name, fix=error.fix) from error
    except MemoryError as error:
        raise DocumentError(
            "memory", "it needs more memory than is allowed", where=name,
            fix="Split it into smaller files.",
        ) from error  # fmt: skip
