"""The table of file formats, and the detection of a file's format.

A new format is one entry of `_FORMATS`, its reader in `readers`, and a line in the documentation.
The content of a file decides its format first, since names are often wrong.
"""

import importlib
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from types import MappingProxyType
from typing import Protocol, cast

from moli.parsing.blocks import Blocks
from moli.parsing.limits import Limits
from moli.records.errors import DocumentError


class Reader(Protocol):
    """Adds the text of the file in `data` to `blocks`."""

    def __call__(self, data: bytes, blocks: Blocks, limits: Limits, /) -> None: ...


@dataclass(frozen=True, slots=True)
class FileFormat:
    """A format that can be read, and the signs by which its files are recognized.

    Attributes:
        name: the format in `SUFFIXES` and in the metadata of documents.
        description: noun phrase for a file of this format in messages.
        reader: module and function that read it; the module is imported when a file needs it.
        suffixes: file suffixes in lower case, the usual one first.
        is_text: whether its files are text, whose format only the suffix can tell for certain.
        magic: beginnings of files in this format; a file has one of them.
        has_signature: whether a file (for text formats, a text file) has this format.
        package_part: beginning of a part name found only in zip archives of this format.
        mimetype: content of the part named `mimetype` in zip archives of this format.
        streams: beginnings of stream names found only in compound (OLE) files of this format.
        accepted: other formats that files under these suffixes may also have.
    """

    name: str
    description: str
    reader: str
    suffixes: tuple[str, ...]
    is_text: bool = False
    magic: tuple[bytes, ...] = ()
    has_signature: Callable[[bytes], bool] = lambda _data: False
    package_part: str = ""
    mimetype: str = ""
    streams: tuple[str, ...] = ()
    accepted: tuple[str, ...] = ()


def _is_image(data: bytes) -> bool:
    """Whether a file begins like WebP, AVIF or BMP, which `magic` alone cannot tell."""
    is_webp = data[:4] == b"RIFF" and data[8:12] == b"WEBP"
    is_avif = data[4:8] == b"ftyp" and b"avif" in data[8:64]
    is_bmp = data[:2] == b"BM" and len(data) > 26 and data[6:10] == b"\0\0\0\0"
    return is_webp or is_avif or is_bmp


def _is_recording(data: bytes) -> bool:
    """Whether a file begins like WAV, FLAC, Ogg or MP3, and not like a text with such letters."""
    if data[:4] in (b"RIFF", b"RF64"):
        return data[8:12] == b"WAVE"
    for mark in (b"fLaC", b"OggS", b"ID3"):
        if data.startswith(mark):
            return not data[len(mark) : len(mark) + 1].decode("latin-1").isprintable()
    # A frame of MP3 begins with 11 bits; its layer is the third, its bit rate and sampling rate are
    # not those that are reserved.
    is_frame = len(data) > 2 and data[0] == 0xFF and data[1] & 0xE6 == 0xE2
    return is_frame and data[2] >> 4 not in (0, 15) and data[2] & 0x0C != 0x0C


def _is_pdf(data: bytes) -> bool:
    """Whether a file begins like a PDF, perhaps after some other bytes."""
    return b"%PDF-" in data[:1024]


def _is_html(data: bytes) -> bool:
    head = data[:4096].lstrip(_LEADING_SPACE).lower()
    return head.startswith((b"<!doctype html", b"<html")) or b"<html" in head[:1024]


def _is_mail(data: bytes) -> bool:
    lines = data[:4096].lstrip(_LEADING_SPACE).lower().splitlines()[:15]
    return sum(line.startswith(_MAIL_HEADERS) for line in lines) >= 3


AUDIO = "audio"  # recordings, which a speech model makes text of
SET_SPEECH = (
    'Run "moli models get whisper-tiny" for English, then set speech = "whisper-tiny" in '
    "moli.toml; or set it to the folder or org/name of another Whisper model."
)
_LEADING_SPACE = b"\xef\xbb\xbf \t\r\n"
_MAIL_HEADERS = (b"from:", b"to:", b"subject:", b"date:", b"received:", b"return-path:",
                 b"message-id:", b"mime-version:", b"delivered-to:", b"content-type:")  # fmt: skip
_OPENDOCUMENT = "application/vnd.oasis.opendocument."

# The first format whose signature fits is taken, so a format whose content may look like another's
# comes first. A signature of a text format sees bytes in the file's own encoding.
_FORMATS = (
    FileFormat("pdf", "a PDF", "readers.pdf:read", (".pdf",), has_signature=_is_pdf),
    FileFormat(
        "image", "an image", "readers.image:read",
        (".png", ".jpg", ".jpeg", ".jfif", ".tif", ".tiff", ".gif", ".bmp", ".webp", ".avif",
         ".jp2"),
        magic=(b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff", b"GIF87a", b"GIF89a",
               b"II*\0", b"MM\0*", b"II+\0", b"MM\0+",
               b"\0\0\0\x0cjP  \r\n\x87\n"),
        has_signature=_is_image,
    ),
    FileFormat(
        AUDIO, "a recording", "readers.audio:read",
        (".wav", ".flac", ".mp3", ".ogg", ".oga", ".opus"), has_signature=_is_recording,
    ),
    FileFormat("docx", "a Word document", "readers.word:read",
               (".docx", ".docm", ".dotx", ".dotm"), package_part="word/"),
    FileFormat("pptx", "a presentation", "readers.slides:read",
               (".pptx", ".pptm", ".ppsx", ".ppsm", ".potx"), package_part="ppt/"),
    FileFormat("xlsx", "a workbook", "readers.sheets:read",
               (".xlsx", ".xlsm", ".xltx", ".xltm"), package_part="xl/"),
    # Many programs save web pages, text tables or new workbooks under the old suffix.
    FileFormat("xls", "an old workbook", "readers.old_sheets:read", (".xls", ".xlt"),
               streams=("Workbook", "Book\0"), accepted=("xlsx", "ods", "html", "txt", "eml")),
    # A page that a browser saves as one file is a mail message, so mail is recognized first.
    FileFormat("eml", "a mail message", "readers.mail:read", (".eml", ".emlx", ".mbox",
                                                              ".mht", ".mhtml"),
               is_text=True, has_signature=_is_mail),
    FileFormat("html", "a web page", "readers.web:read", (".html", ".htm", ".xhtml"),
               is_text=True, has_signature=_is_html),
    FileFormat("csv", "a table in text", "readers.delimited:read",
               (".csv", ".tsv", ".psv", ".tab"), is_text=True),
    FileFormat("md", "Markdown", "readers.markdown:read", (".md", ".markdown", ".mdx"),
               is_text=True),
    FileFormat("txt", "plain text", "readers.plain:read",
               (".txt", ".text", ".log", ".rst", ".adoc", ".asciidoc", ".org", ".tex",
                ".json", ".jsonl", ".yaml", ".yml", ".xml"), is_text=True),
    FileFormat("captions", "subtitles", "readers.plain:read_captions", (".vtt", ".srt"),
               is_text=True),
    FileFormat("ipynb", "a notebook", "readers.plain:read_notebook", (".ipynb",), is_text=True),
    FileFormat("epub", "a book", "readers.book:read", (".epub",),
               package_part="META-INF/container.xml", mimetype="application/epub+zip"),
    FileFormat("odt", "an OpenDocument text", "readers.opendocument:read", (".odt",),
               mimetype=_OPENDOCUMENT + "text"),
    FileFormat("odp", "an OpenDocument presentation", "readers.opendocument:read", (".odp",),
               mimetype=_OPENDOCUMENT + "presentation"),
    FileFormat("ods", "an OpenDocument sheet", "readers.opendocument:read", (".ods",),
               mimetype=_OPENDOCUMENT + "spreadsheet"),
    FileFormat("rtf", "an RTF document", "readers.rtf:read", (".rtf",), magic=(b"{\\rtf",)),
    FileFormat("zip", "a zip archive", "readers.zipped:read", (".zip",)),
)  # fmt: skip

_BY_NAME = {file_format.name: file_format for file_format in _FORMATS}

SUFFIXES: Mapping[str, str] = MappingProxyType({
    suffix: file_format.name for file_format in _FORMATS for suffix in file_format.suffixes
})  # fmt: skip
"""The files that `moli add` takes from a folder: suffix in lower case -> format."""

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_COMPOUND_FILE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"

# Recognized only to be named in the message of a refusal.
_OTHER_MAGIC = (
    (b"\x7fELF", "a program"), (b"MZ", "a Windows program"), (b"\x1f\x8b", "a gzip archive"),
    (b"7z\xbc\xaf'\x1c", "a 7z archive"), (b"Rar!", "a RAR archive"), (b"BZh", "a bzip2 archive"),
    (b"\xfd7zXZ", "an xz archive"),
    (b"x\x9f>\"", "Outlook's own format (winmail.dat)"),
    (b"%!PS", "a PostScript file"), (b"SQLite format 3", "an SQLite database"),
    (b"RIFF", "a video or recording"), (b"FORM", "a recording"), (b"\x1aE\xdf\xa3", "a video"),
)  # fmt: skip
_OTHER_STREAMS = (
    ("WordDocument", "an old Word document (.doc)"),
    ("PowerPoint Document", "an old presentation (.ppt)"),
    ("__substg1.0", "an Outlook message (.msg)"),
)
_HEIC = (".heic", ".heif", ".hif")
_MODERN_SUFFIX = {".doc": "docx", ".xlsb": "xlsx", ".ppt": "pptx", ".msg": "eml"}
_OTHER_SOUND = (".m4a", ".aac", ".wma", ".aif", ".aiff", ".amr", ".mp4", ".mov", ".mkv", ".webm")
_ARCHIVES = (".7z", ".rar", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst")


def detect(data: bytes, name: str) -> str:
    """The format of a file, from its content `data` and its file name.

    Raises:
        DocumentError: empty, unsupported, encrypted, or misnamed if the content is not in a
            format that the suffix stands for.
    """
    if not data:
        raise DocumentError("empty", "it has no content", fix="Leave this file out.")
    suffix = Path(name).suffix.lower()
    expected = _BY_NAME.get(SUFFIXES.get(suffix, ""))
    actual = _format_by_content(data, expected)
    file_format = _BY_NAME.get(actual)
    if expected is None:
        if file_format is None:
            what = f"it is {actual}, which cannot be read"
            raise DocumentError("unsupported", what, fix=_advice(actual))
        return actual
    if file_format is not None:
        if file_format is expected or (file_format.is_text and expected.is_text):
            return expected.name
        if actual in expected.accepted:
            return actual
        fix = f"Rename it to end in {file_format.suffixes[0]}."
    else:
        fix = f"Find the real {suffix} file, or leave this one out."
    what = file_format.description if file_format else actual
    raise DocumentError("misnamed", f"it is named {suffix} but is {what}", fix=fix)


def is_recording(path: Path) -> bool:
    """Whether a file is a recording, by its suffix, or without a known one by how it begins.

    Raises:
        OSError: the file cannot be read.
    """
    if file_format := SUFFIXES.get(path.suffix.lower()):
        return file_format == AUDIO
    with path.open("rb") as file:
        return _is_recording(file.read(16))


def load_reader(name: str) -> Reader:
    """The reader of the format `name`, imported when it is first needed."""
    module, _, function = _BY_NAME[name].reader.partition(":")
    return cast(Reader, getattr(importlib.import_module(f"moli.parsing.{module}"), function))


def _format_by_content(data: bytes, expected: FileFormat | None) -> str:
    """The name of a format, or the description of a file that cannot be read."""
    if data.startswith(_ZIP):
        return _zip_format(data)
    if data.startswith(_COMPOUND_FILE):
        return _compound_file_format(data, expected)
    for file_format in _FORMATS:
        if data.startswith(file_format.magic):
            return file_format.name
    for file_format in _FORMATS:
        if not file_format.is_text and file_format.has_signature(data):
            return file_format.name
    if data[4:8] == b"ftyp":
        is_photo = data[8:12] in (b"mif1", b"msf1") or data[8:11] in (b"hei", b"hev")
        return "a photo in HEIC" if is_photo else "a video or recording"
    other = next((what for magic, what in _OTHER_MAGIC if data.startswith(magic)), "")
    is_text = _is_text(data)
    # Some magic numbers are short enough to begin an honest sentence.
    if other and (not is_text or other == "a PostScript file"):
        return other
    if not is_text:
        return "binary data"
    texts = (text for text in _FORMATS if text.is_text and text.has_signature(data))
    return next((text.name for text in texts), "txt")


def _is_text(data: bytes) -> bool:
    """Whether bytes can be text: hardly any control characters, or UTF-16 and UTF-32."""
    from moli.parsing.encodings import decode

    head = data[: 1 << 14]
    if head.startswith((b"\xff\xfe", b"\xfe\xff", b"\0\0\xfe\xff")):
        return True
    if b"\0" in head:
        head = decode(head).encode()
    controls = sum(byte < 32 and byte not in b"\a\b\t\n\v\f\r\x1a\x1b" for byte in head)
    return controls <= len(head) * 0.002


def _zip_format(data: bytes) -> str:
    """The format of a zip archive, by the names of its parts; else a description of the file."""
    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            names = archive.namelist()
            if "mimetype" in names and archive.getinfo("mimetype").file_size < 200:
                mimetype = archive.read("mimetype").decode("ascii", "replace").strip()
                return _format_by_mimetype(mimetype.removesuffix("-template"))
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, NotImplementedError, RuntimeError):
        # The directory of a zip archive is at its end, which a cut file has lost.
        return _cut_zip_format(data)
    if "xl/workbook.bin" in names:
        return "a binary workbook (.xlsb)"
    for file_format in _FORMATS:
        part = file_format.package_part.lower()
        if part and any(name.lower().startswith(part) for name in names):
            return file_format.name
    return "zip"


def _format_by_mimetype(mimetype: str) -> str:
    """The format whose zip archives state `mimetype`; else a description of the file."""
    matches = (each.name for each in _FORMATS if each.mimetype and each.mimetype == mimetype)
    return next(matches, "a zip archive")


def _cut_zip_format(data: bytes) -> str:
    """The format of a zip archive that has lost its end; else a description of the file."""
    for file_format in _FORMATS:
        part = file_format.package_part
        is_office = part and not file_format.mimetype and b"[Content_Types].xml" in data
        if is_office and part.encode() in data:
            return file_format.name
    mimetype = data[30:120].decode("ascii", "replace").removeprefix("mimetype")
    matches = (f.name for f in _FORMATS if f.mimetype and mimetype.startswith(f.mimetype))
    return next(matches, "a damaged zip archive")


def _compound_file_format(data: bytes, expected: FileFormat | None) -> str:
    """The format of a compound file, the container of older Office files; else a description.

    Raises:
        DocumentError: encrypted, since Office puts encrypted files of any format into a compound
            file.
    """

    def has_stream(name: str) -> bool:
        """Whether the file has a stream whose name begins with `name`."""
        return name.encode("utf-16-le") in data

    if has_stream("EncryptedPackage"):
        raise DocumentError(
            "encrypted",
            "it is protected by a password",
            fix="Remove the password in Office and save a copy.",
        )
    # A file that contains another has the streams of both; its suffix tells which is which.
    if expected is not None and any(map(has_stream, expected.streams)):
        return expected.name
    for name, what in _OTHER_STREAMS:
        if has_stream(name):
            return what
    matches = (each.name for each in _FORMATS if any(map(has_stream, each.streams)))
    return next(matches, "an old Office file")


_SAVE_PHOTO = "Save it as .jpg."
_SAVE_SOUND = "Save its sound as .wav, .flac, .ogg or .mp3."


def _advice(what: str) -> str:
    """Advice on a file that cannot be read; `what` describes it."""
    modern = (suffix for old, suffix in _MODERN_SUFFIX.items() if what.endswith(f"{old})"))
    if suffix := next(modern, ""):
        return f"Save it as .{suffix} in the program that made it."
    if "archive" in what:
        return "Unpack it and add the files inside."
    if "HEIC" in what:
        return _SAVE_PHOTO
    if "recording" in what or "video" in what:
        return _SAVE_SOUND
    return "Save its text in a supported format, such as .pdf, .docx, .md or .txt."


def advice_on_suffix(suffix: str) -> str:
    """Advice on a file with a suffix, in lower case, that no format has."""
    if modern := _MODERN_SUFFIX.get(suffix):
        return f"Save it as .{modern} in the program that made it."
    if suffix in _ARCHIVES:
        return "Unpack it and add the files inside."
    if suffix in _HEIC:
        return _SAVE_PHOTO
    if suffix in _OTHER_SOUND:
        return _SAVE_SOUND
    return "Name the file itself to have its content read as text."
