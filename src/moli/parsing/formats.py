"""Which format a file is in: by its content first, since names are often wrong."""

import importlib
import zipfile
from collections.abc import Callable, Mapping
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, cast

from moli.parsing.blocks import Blocks
from moli.parsing.limits import DEFAULT, Limits
from moli.records.documents import ParsedDocument
from moli.records.errors import DocumentError


class Reader(Protocol):
    """Adds the document in `data` to `blocks`."""

    def __call__(self, data: bytes, blocks: Blocks, limits: Limits, /) -> None: ...


# Format -> module and function that read it; modules load when a file needs them.
_READERS = {
    "pdf": "readers.pdf:read",
    "image": "ocr:read",
    "docx": "readers.word:read",
    "pptx": "readers.slides:read",
    "xlsx": "readers.sheets:read",
    "csv": "readers.delimited:read",
    "html": "readers.web:read",
    "md": "readers.markdown:read",
    "txt": "readers.plain:read",
    "captions": "readers.plain:read_captions",
    "ipynb": "readers.plain:read_notebook",
    "eml": "readers.mail:read",
    "epub": "readers.book:read",
    "odt": "readers.opendocument:read",
    "odp": "readers.opendocument:read",
    "ods": "readers.opendocument:read",
    "rtf": "readers.rtf:read",
}

SUFFIXES: Mapping[str, str] = MappingProxyType({
    ".pdf": "pdf",
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".tif", ".tiff", ".gif", ".bmp", ".webp"), "image"),
    **dict.fromkeys((".docx", ".docm", ".dotx", ".dotm"), "docx"),
    **dict.fromkeys((".pptx", ".pptm", ".ppsx", ".ppsm", ".potx"), "pptx"),
    **dict.fromkeys((".xlsx", ".xlsm", ".xltx", ".xltm"), "xlsx"),
    **dict.fromkeys((".csv", ".tsv", ".psv", ".tab"), "csv"),
    **dict.fromkeys((".html", ".htm", ".xhtml"), "html"),
    **dict.fromkeys((".md", ".markdown", ".mdx"), "md"),
    **dict.fromkeys((".txt", ".text", ".log", ".rst", ".adoc", ".asciidoc", ".org", ".tex",
                     ".json", ".jsonl", ".yaml", ".yml", ".xml"), "txt"),
    **dict.fromkeys((".vtt", ".srt"), "captions"),
    ".ipynb": "ipynb",
    ".eml": "eml",
    ".epub": "epub",
    ".odt": "odt",
    ".odp": "odp",
    ".ods": "ods",
    ".rtf": "rtf",
})  # fmt: skip
"""What `moli add` takes from a folder: file suffix in lower case -> format."""

_TEXTS = ("csv", "html", "md", "txt", "captions", "ipynb", "eml")

_MAGIC = (
    (b"\x89PNG\r\n\x1a\n", "image"), (b"\xff\xd8\xff", "image"), (b"GIF87a", "image"),
    (b"GIF89a", "image"), (b"II*\0", "image"), (b"MM\0*", "image"), (b"II+\0", "image"),
    (b"MM\0+", "image"), (b"{\\rtf", "rtf"), (b"PK\x03\x04", "zip"), (b"PK\x05\x06", "zip"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "ole"),
)  # fmt: skip

# Known only to be named in the message of a refusal.
_FOREIGN = (
    (b"\x7fELF", "a program"), (b"MZ", "a Windows program"), (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf'\x1c", "a 7z archive"), (b"Rar!", "a RAR archive"), (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"), (b"ID3", "an MP3 recording"), (b"OggS", "an Ogg recording"),
    (b"\xff\xfb", "an MP3 recording"), (b"%!PS", "a PostScript file"),
    (b"SQLite format 3", "an SQLite database"), (b"RIFF", "a recording"),
)  # fmt: skip

_NAMES = {
    "pdf": "a PDF", "image": "an image", "docx": "a Word document", "pptx": "a presentation",
    "xlsx": "a workbook", "csv": "a table in text", "html": "a web page", "md": "Markdown",
    "txt": "plain text", "captions": "subtitles", "ipynb": "a notebook",
    "eml": "a mail message", "epub": "a book",
    "odt": "an OpenDocument text", "odp": "an OpenDocument presentation",
    "ods": "an OpenDocument sheet", "rtf": "an RTF document",
}  # fmt: skip

_PACKAGES = (("word/", "docx"), ("ppt/", "pptx"), ("xl/", "xlsx"))
_MIMETYPES = {"application/epub+zip": "epub",
              "application/vnd.oasis.opendocument.text": "odt",
              "application/vnd.oasis.opendocument.presentation": "odp",
              "application/vnd.oasis.opendocument.spreadsheet": "ods"}  # fmt: skip
_MAIL_HEADERS = (b"from:", b"to:", b"subject:", b"date:", b"received:", b"return-path:",
                 b"message-id:", b"mime-version:", b"delivered-to:", b"content-type:")  # fmt: skip


def parse_file(
    path: Path, limits: Limits = DEFAULT, *, on_ocr: Callable[[], None] | None = None
) -> ParsedDocument:
    """Read a file in this process.

    Use `Sandbox` for files that are not trusted: here a parser that crashes or hangs takes
    the whole process along.

    Raises:
        DocumentError: if the file cannot be read; `reason` says why.
    """
    try:
        size = path.stat().st_size
        if size > limits.file_bytes:
            raise DocumentError(
                "too_large",
                f"it has {size:,} bytes; at most {limits.file_bytes:,} are read",
                where=path.name,
                fix="Split it into smaller files.",
            )
        if not path.is_file():
            raise DocumentError(
                "unsupported", "it is not a file", where=path.name, fix="Name a file."
            )
        data = path.read_bytes()
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise DocumentError(
            "missing", f"it cannot be opened ({reason})", where=path.name,
            fix="Check the path and your right to read it.",
        ) from error  # fmt: skip
    return parse_bytes(data, path.name, limits, on_ocr=on_ocr)


def parse_bytes(
    data: bytes,
    name: str,
    limits: Limits = DEFAULT,
    *,
    on_ocr: Callable[[], None] | None = None,
) -> ParsedDocument:
    """Read a file held in memory; `name` gives its suffix and stands in errors."""
    try:
        blocks = Blocks(
            on_ocr or (lambda: None),
            lambda inner, its_name: parse_bytes(inner, its_name, limits, on_ocr=on_ocr),
        )
        _reader(detect(data, name))(data, blocks, limits)
        document = blocks.document()
        if not document.text:
            raise DocumentError("empty", "no text was found in it", fix="Leave this file out.")
        return document
    except DocumentError as error:
        if error.where:
            raise
        raise DocumentError(error.reason, error.what, where=name, fix=error.fix) from error
    except MemoryError as error:
        raise DocumentError(
            "memory", "it needs more memory than is allowed", where=name,
            fix="Split it into smaller files.",
        ) from error  # fmt: skip


def detect(data: bytes, name: str) -> str:
    """The format of a file.

    Raises:
        DocumentError: empty, unsupported, encrypted, or misnamed if the suffix promises
            a format that the content is not in.
    """
    if not data:
        raise DocumentError("empty", "it has no content", fix="Leave this file out.")
    suffix = Path(name).suffix.lower()
    promised = SUFFIXES.get(suffix)
    found = _by_content(data)
    if found == promised or (promised in _TEXTS and found in _TEXTS and promised is not None):
        return promised
    what = _NAMES.get(found, found)
    if promised is not None:
        fix = f"Rename it to end in {_usual_suffix(found)}." if found in _READERS else ""
        raise DocumentError(
            "misnamed",
            f"it is named {suffix} but is {what}",
            fix=fix or f"Find the real {suffix} file, or leave this one out.",
        )
    if found not in _READERS:
        raise DocumentError("unsupported", f"it is {what}, which cannot be read", fix=_advice(what))
    return found


def _by_content(data: bytes) -> str:
    """A format, or the description of a foreign kind of file."""
    for magic, found in _MAGIC:
        if data.startswith(magic):
            return _zipped(data) if found == "zip" else _compound(data) if found == "ole" else found
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "image"
    if data[:2] == b"BM" and len(data) > 26 and data[6:10] == b"\0\0\0\0":
        return "image"
    if b"%PDF-" in data[:1024]:
        return "pdf"
    if data[4:8] == b"ftyp":
        return "a video or recording"
    foreign = next((what for magic, what in _FOREIGN if data.startswith(magic)), "")
    is_text = _is_text(data)
    # Some magic numbers are short enough to begin an honest sentence.
    if foreign and (not is_text or foreign == "a PostScript file"):
        return foreign
    return _text_format(data) if is_text else "binary data"


def _is_text(data: bytes) -> bool:
    """Whether bytes can be text: hardly any control characters, or UTF-16 and UTF-32."""
    from moli.parsing.encodings import decode

    head = data[: 1 << 14]
    if head.startswith((b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")):
        return True
    if b"\0" in head:
        head = decode(head).encode()
    controls = sum(byte < 32 and byte not in b"\t\n\v\f\r\x1a\x1b" for byte in head)
    return controls <= len(head) * 0.002


def _text_format(data: bytes) -> str:
    head = data[:4096].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith((b"<!doctype html", b"<html")) or b"<html" in head[:1024]:
        return "html"
    lines = head.splitlines()[:12]
    if sum(line.startswith(_MAIL_HEADERS) for line in lines) >= 3:
        return "eml"
    return "txt"


def _zipped(data: bytes) -> str:
    """The format of a zip archive, by the parts that its directory lists."""
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            names = archive.namelist()
            if "mimetype" in names and archive.getinfo("mimetype").file_size < 200:
                kind = archive.read("mimetype").decode("ascii", "replace").strip()
                return _MIMETYPES.get(kind.removesuffix("-template"), "a zip archive")
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, RuntimeError):
        # The directory of a zip archive stands at its end, which a cut file has lost.
        return _cut_package(data)
    for prefix, found in _PACKAGES:
        if any(name.lower().startswith(prefix) for name in names):
            return found
    return "epub" if "META-INF/container.xml" in names else "a zip archive"


def _cut_package(data: bytes) -> str:
    for prefix, found in _PACKAGES:
        if b"[Content_Types].xml" in data and prefix.encode() in data:
            return found
    mimetype = data[30:120].decode("ascii", "replace").removeprefix("mimetype")
    matching = (name for kind, name in _MIMETYPES.items() if mimetype.startswith(kind))
    return next(matching, "a damaged zip archive")


def _compound(data: bytes) -> str:
    """What the older container of Office holds; Office also encrypts into it."""

    def holds(name: str) -> bool:
        return name.encode("utf-16-le") in data

    if holds("EncryptedPackage"):
        raise DocumentError(
            "encrypted",
            "it is protected by a password",
            fix="Remove the password in Office and save a copy.",
        )
    for stream, what in (("WordDocument", "an old Word document (.doc)"),
                         ("Workbook", "an old workbook (.xls)"),
                         ("PowerPoint Document", "an old presentation (.ppt)"),
                         ("__substg1.0", "an Outlook message (.msg)")):  # fmt: skip
        if holds(stream):
            return what
    return "an old Office file"


def _advice(what: str) -> str:
    modern = {".doc)": "docx", ".xls)": "xlsx", ".ppt)": "pptx", ".msg)": "eml"}
    better = next((suffix for old, suffix in modern.items() if what.endswith(old)), "")
    if better:
        return f"Save it as .{better} in the program that made it."
    if "archive" in what:
        return "Unpack it and add the files inside."
    return "Save its text in a supported format, such as .pdf, .docx, .md or .txt."


def _usual_suffix(found: str) -> str:
    return next(suffix for suffix, kind in SUFFIXES.items() if kind == found)


def _reader(found: str) -> Reader:
    module, _, function = _READERS[found].partition(":")
    loaded = importlib.import_module(f"moli.parsing.{module}")
    return cast(Reader, getattr(loaded, function))
