"""Text files, whole: their bytes decompressed and decoded."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

from moli.records.errors import InputError

_UTF16_MARKS = (b"\xff\xfe", b"\xfe\xff")
_ZIP = b"PK\x03\x04"
_POINTER = b"version https://git-lfs.github.com/spec/"
# Encodings of older Windows programs, Chinese and Western, with what to recognise them by.
_OLD_ENCODINGS = ("gb18030", "cp1252")


def read_text_file(path: Path) -> str:
    """The text of a file in UTF-8 or UTF-16, which may be compressed.

    Raises:
        InputError: it is in another encoding, or is no text, such as a Git LFS pointer to the data.
        OSError, EOFError, zlib.error: it cannot be read or decompressed.
    """
    with gzip.open(path) if path.suffix.lower() == ".gz" else path.open("rb") as file:
        data = file.read()
    if data.startswith(_POINTER):
        raise InputError(
            "a Git LFS pointer, not the data", where=str(path), fix="Fetch it: git lfs pull."
        )
    if data.startswith(_ZIP):
        raise InputError(
            "an Excel or zip file, not text", where=str(path), fix="Save the table as CSV in UTF-8."
        )
    encoding = _unicode_encoding(data)
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise InputError(
            f"not {encoding[:-4].upper() if encoding == 'utf-8-sig' else encoding.upper()} "
            f"(byte {data[error.start]:#04x})",
            where=f"{path}:{line}",
            fix=_encoding_hint(path, data),
        ) from error


def _unicode_encoding(data: bytes) -> str:
    """The encoding that the first bytes of a text tell; UTF-8 unless they are of UTF-16."""
    if data.startswith(_UTF16_MARKS):
        return "utf-16"
    head = data[:200]
    if head.count(0) > len(head) // 4:  # Latin letters in UTF-16 without a mark
        return "utf-16-le" if head[1::2].count(0) > head[::2].count(0) else "utf-16-be"
    return "utf-8-sig"


def _encoding_hint(path: Path, data: bytes) -> str:
    """Advice for a text in an older encoding, with the command that converts it if it is clear."""
    for encoding in _OLD_ENCODINGS:
        try:
            text = data.decode(encoding)
        except UnicodeDecodeError:
            continue
        foreign = re.findall(r"[^\x00-\x7f]", text)
        chinese = re.findall("[\u3000-\u9fff\uff00-\uffef]", text)
        if encoding != "gb18030" or len(chinese) > 0.9 * len(foreign):
            target = path.with_name(f"utf8-{path.name}")
            return (
                "Save the file as UTF-8; if it is in "
                f"{encoding.upper()}: iconv -f {encoding.upper()} -t UTF-8 {path} > {target}."
            )
    return "Save the file as UTF-8."
