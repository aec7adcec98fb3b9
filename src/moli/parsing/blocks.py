"""A document under construction: blocks are added, and canonical text with offsets is built."""

import re
import unicodedata
from collections.abc import Callable, Iterable, Sequence

from moli.records.documents import Heading, ParsedDocument, Timestamp
from moli.records.errors import DocumentError

# Characters that carry no text: bidirectional controls, zero-width space, byte order mark,
# soft hyphen, non-characters. ZWJ and ZWNJ stay, since Persian, Indic scripts and emoji need them.
_INVISIBLE = (0xAD, 0x200B, 0x200E, 0x200F, 0x2060, 0xFEFF, 0xFFFE, 0xFFFF)
_BIDI = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
_REPLACEMENTS: dict[int, str | None] = {
    **dict.fromkeys((*range(0x20), *range(0x7F, 0xA0)), None),
    **dict.fromkeys((*_INVISIBLE, *_BIDI), None),
    **dict.fromkeys(range(0xD800, 0xE000), "\ufffd"),
    **dict.fromkeys((0x0B, 0x0C, 0x85, 0x2028, 0x2029), "\n"),
    # Bullets of the Symbol and Wingdings fonts, which live in the private use area.
    **dict.fromkeys((0xF0B7, 0xF0A7, 0xF06E, 0xF0D8, 0xF076), "•"),
    0x0A: "\n",
    0x0D: "\n",
    0x09: "\t",
}
_SPACES = re.compile(r"[^\S\n]+")
_BREAKS = re.compile(r" ?\n\s*")


ParseContained = Callable[[bytes, str], ParsedDocument]  # content and name of a contained file


def _do_nothing() -> None:
    """Do nothing before a page that needs OCR: the default of `on_ocr`."""


def _refuse_contained(_data: bytes, name: str) -> ParsedDocument:
    """The default of `parse_contained`: raise a `DocumentError`."""
    raise DocumentError(
        "unsupported", "files inside this one are not read", where=name, fix="Add it by itself."
    )


def normalize_text(text: str) -> str:
    """`text` in Unicode NFC without control or invisible characters; newlines and tabs stay."""
    text = text.replace("\r\n", "\n")
    if not text.isascii() or not text.isprintable():
        text = text.translate(_REPLACEMENTS)
    return unicodedata.normalize("NFC", text)


def collapse_whitespace(text: str) -> str:
    """`text` normalized, with each run of white space made one space or one newline."""
    return _BREAKS.sub("\n", _SPACES.sub(" ", normalize_text(text))).strip()


def _join_lines(text: str) -> str:
    """`text` on one line, with single spaces."""
    return " ".join(collapse_whitespace(text).split())


def _collapsed_value(value: str | tuple[str, ...]) -> str | tuple[str, ...]:
    """A property with its white space collapsed; empty if nothing is left."""
    if isinstance(value, str):
        return collapse_whitespace(value)
    return tuple(filter(None, map(collapse_whitespace, value)))


class Blocks:
    """Collects the blocks of a document in reading order, with offsets of headings, pages, times.

    Blocks are separated by a blank line, except that items of one list and rows of one
    table follow each other on consecutive lines. NFC never composes across a newline, so
    each block is normalised alone and offsets simply add up.

    Args:
        on_ocr: called before each page that needs OCR, so that the caller can extend its time
            limit.
        parse_contained: parses a file that is contained in this one, such as an attachment.
    """

    def __init__(
        self,
        on_ocr: Callable[[], None] = _do_nothing,
        parse_contained: ParseContained = _refuse_contained,
    ) -> None:
        self.on_ocr = on_ocr
        self.parse_contained = parse_contained
        self.title = ""
        self.metadata: dict[str, str | tuple[str, ...]] = {}
        self._warnings: dict[str, None] = {}
        self._parts: list[str] = []
        self._length = 0
        self._last_kind = ""
        self._pages: list[int] = []
        self._times: list[Timestamp] = []
        self._headings: list[Heading] = []

    def begin_page(self, *, in_table: bool = False) -> None:
        """Begin a page, to which everything added next belongs.

        Args:
            in_table: whether the page begins with more rows of the table before it.
        """
        if not in_table:
            self._last_kind = ""
        self._pages.append(self._next_offset("row" if in_table else "page"))

    def add_heading(self, text: str, level: int = 1) -> None:
        """Add a heading on one line; level 1 is the highest."""
        line = _join_lines(text)
        if line:
            offset = self._add(line, "heading")
            self._headings.append(Heading(offset, max(1, min(level, 9)), line))

    def add_paragraph(
        self, text: str, page_starts: Sequence[int] = (), *, times: Sequence[Timestamp] = ()
    ) -> None:
        """Add a paragraph; single line breaks inside it stay.

        Args:
            page_starts: offsets in `text` at which pages begin that the paragraph runs on to.
            times: times of the paragraph's parts, with their offsets in `text`.
        """
        self._add(collapse_whitespace(text), "paragraph")
        self._pages += self._offsets_inside(text, page_starts)
        offsets = self._offsets_inside(text, [each.offset for each in times])
        self._times += map(Timestamp, offsets, [each.seconds for each in times])

    def add_item(
        self, text: str, marker: str = "- ", depth: int = 0, *, page_starts: Sequence[int] = ()
    ) -> None:
        """Add a list item, indented two spaces for each level of `depth`.

        Args:
            page_starts: offsets in `text` at which pages begin that the item runs on to.
        """
        line = collapse_whitespace(text)
        if line:
            self._add("  " * depth + marker + line, "item")
            self._pages += self._offsets_inside(text, page_starts)

    def add_row(self, cells: Iterable[str]) -> None:
        """Add a table row; a row without text adds nothing and does not end the table."""
        texts = [_join_lines(cell) for cell in cells]
        while texts and not texts[-1]:
            texts.pop()
        if texts:
            self._add(" | ".join(texts), "row")

    def end_group(self) -> None:
        """End the current list or table, so that a blank line separates the next one."""
        self._last_kind = ""

    def add_preformatted(self, text: str) -> None:
        """Add text with its line breaks and indentation as they are."""
        lines = [line.rstrip() for line in normalize_text(text).replace("\t", "    ").split("\n")]
        self._add(re.sub(r"\n{3,}", "\n\n", "\n".join(lines).strip("\n")), "verbatim")

    def warn(self, warning: str) -> None:
        """Record a warning about something that could not be recovered; repeats are dropped."""
        self._warnings[_join_lines(warning)] = None

    def add_document(self, document: ParsedDocument, name: str, *, below: int = 0) -> None:
        """Add the text, headings and warnings of a document contained in this one.

        Args:
            name: name of the contained file, for its warnings.
            below: level of the heading that the document's headings are put under.
        """
        if document.text:
            offset = self._add(document.text, "document")
            self._headings += [
                Heading(offset + head.offset, min(9, head.level + below), head.text)
                for head in document.headings
            ]
        for warning in document.warnings:
            self.warn(f"{name}: {warning}")

    def build(self) -> ParsedDocument:
        """The document made of everything added so far."""
        return ParsedDocument(
            text="".join(self._parts),
            pages=tuple(min(offset, self._length) for offset in self._pages),
            headings=tuple(self._headings),
            title=_join_lines(self.title),
            metadata={
                key: value
                for key, stated in self.metadata.items()
                if (value := _collapsed_value(stated))
            },
            warnings=tuple(self._warnings),
            times=tuple(self._times),
        )

    def _offsets_inside(self, text: str, starts: Sequence[int]) -> list[int]:
        """Offsets of the parts of the block just added, which was made of `text`."""
        return [self._length - len(collapse_whitespace(text[start:])) for start in starts]

    def _separator(self, kind: str) -> str:
        """White space between the text so far and a block of `kind`."""
        if not self._parts:
            return ""
        return "\n" if kind == self._last_kind and kind in ("item", "row") else "\n\n"

    def _next_offset(self, kind: str) -> int:
        """Offset at which a block of `kind` would begin."""
        return self._length + len(self._separator(kind))

    def _add(self, text: str, kind: str) -> int:
        """Append a block of `kind` and return its offset; blank text is left out."""
        if not text.strip():
            return self._length
        separator = self._separator(kind)
        offset = self._length + len(separator)
        self._parts += (separator, text)
        self._length = offset + len(text)
        self._last_kind = kind
        return offset
