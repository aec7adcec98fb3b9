"""Page headers and footers in the records of an old workbook, which its library does not read."""

import struct
from collections.abc import Iterator

from xlrd.biffh import unpack_string, unpack_unicode
from xlrd.compdoc import SIGNATURE, CompDoc

_BEGIN, _END, _SHEET, _RUNNING = 0x0809, 0x0A, 0x85, (0x14, 0x15)
_WORKSHEET = 0  # kind of a sheet
_HEADER = struct.Struct("<HH")  # of a record: its kind and the length of its content


def headers_of(data: bytes, encoding: str) -> list[list[str]]:
    """The codes of the headers and footers of each worksheet in a workbook of Excel 5 or later.

    Args:
        encoding: the encoding of texts in workbooks of Excel 5.

    Raises:
        CompDocError, struct.error, LookupError: the workbook is damaged.
    """
    if not data.startswith(SIGNATURE):
        return []
    document = CompDoc(data)
    stream, start, length = document.locate_named_stream("Workbook")
    is_unicode = stream is not None
    if stream is None:
        stream, start, length = document.locate_named_stream("Book")
    book = bytes(stream[start : start + length]) if stream is not None else b""
    sheets = [content for kind, content in _records(book, 0) if kind == _SHEET]
    return [
        [
            unpack_unicode(content, 0) if is_unicode else unpack_string(content, 0, encoding)
            for kind, content in _records(book, struct.unpack_from("<I", sheet)[0])
            if kind in _RUNNING and content
        ]
        for sheet in sheets
        if sheet[5] == _WORKSHEET
    ]


def _records(book: bytes, start: int) -> Iterator[tuple[int, bytes]]:
    """The kinds and contents of the records from `start` to the end of their part.

    Those of parts inside, such as a chart in a sheet, are left out.
    """
    depth = 0
    while start + _HEADER.size <= len(book):
        kind, length = _HEADER.unpack_from(book, start)
        start += _HEADER.size
        depth += (kind == _BEGIN) - (kind == _END)
        if depth < 1:
            return
        if depth == 1:
            yield kind, book[start : start + length]
        start += length
