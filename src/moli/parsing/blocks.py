"""A document under construction: blocks go in, canonical text with exact offsets comes out."""

import re
import unicodedata
from collections.abc import Callable, Iterable

from moli.records.documents import Heading, ParsedDocument
from moli.records.errors import DocumentError

# Characters that carry no text: bidirectional controls, zero-width space, byte order mark,
# soft hyphen, non-characters. ZWJ and ZWNJ stay, since Persian, Indic scripts and emoji need them.
_INVISIBLE = (0xAD, 0x200B, 0x200E, 0x200F, 0x2060, 0xFEFF, 0xFFFE, 0xFFFF)
_BIDI = (*range(0x202A, 0x202F), *range(0x2066, 0x206A))
_CLEAN: dict[int, str | None] = {
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


def _nothing() -> None:
    return None


def _refuse_contained(_data: bytes, name: str) -> ParsedDocument:
    raise DocumentError(
        "unsupported", "files inside this one are not read", where=name, fix="Add it by itself."
    )


def clean(text: str) -> str:
    """`text` in NFC without control or invisible characters; newlines and tabs stay."""
    text = text.replace("\r\n", "\n")
    if not text.isascii() or not text.isprintable():
        text = text.translate(_CLEAN)
    return unicodedata.normalize("NFC", text)


def tidy(text: str) -> str:
    """`text` cleaned, with runs of white space made one space or one newline."""
    return _BREAKS.sub("\n", _SPACES.sub(" ", clean(text))).strip()


class Blocks:
    """Collects blocks in reading order and keeps the offset of every heading and page.

    Blocks are separated by a blank line, except that items of one list and rows of one
    table follow each other on consecutive lines. NFC never composes across a newline, so
    each block is normalised alone and offsets simply add up.

    Args:
        on_ocr: called before each page that is recognised optically, so that the caller can keep
            time.
        parse_contained: parses a file that is contained in this one, such as an attachment.
    """

    def __init__(
        self,
        on_ocr: Callable[[], None] = _nothing,
        parse_contained: ParseContained = _refuse_contained,
    ) -> None:
        self.on_ocr = on_ocr
        self.parse_contained = parse_contained
        self.title = ""
        self.metadata: dict[str, str] = {}
        self._warnings: dict[str, None] = {}
        self._pieces: list[str] = []
        self._length = 0
        self._kind = ""
        self._pages: list[int] = []
        self._headings: list[Heading] = []

    def page(self) -> None:
        """Begin a page; whatever is added next stands on it."""
        self._kind = ""
        self._pages.append(self._next_offset("page"))

    def heading(self, text: str, level: int = 1) -> None:
        """Add a heading on one line; level 1 is the highest."""
        line = " ".join(tidy(text).split())
        if line:
            offset = self._add(line, "heading")
            self._headings.append(Heading(offset, max(1, min(level, 9)), line))

    def paragraph(self, text: str) -> None:
        """Add a paragraph; single line breaks inside it stay."""
        self._add(tidy(text), "paragraph")

    def item(self, text: str, marker: str = "- ", depth: int = 0) -> None:
        """Add a list item, indented two spaces for each level of `depth`."""
        line = tidy(text)
        if line:
            self._add("  " * depth + marker + line, "item")

    def row(self, cells: Iterable[str]) -> None:
        """Add a table row; an empty row only keeps the table going."""
        texts = [" ".join(tidy(cell).split()) for cell in cells]
        while texts and not texts[-1]:
            texts.pop()
        if texts:
            self._add(" | ".join(texts), "row")

    def end(self) -> None:
        """End the current list or table, so that a following one stands apart."""
        self._kind = ""

    def verbatim(self, text: str) -> None:
        """Add text whose line breaks and indentation matter."""
        lines = [line.rstrip() for line in clean(text).replace("\t", "    ").split("\n")]
        self._add(re.sub(r"\n{3,}", "\n\n", "\n".join(lines).strip("\n")), "verbatim")

    def warn(self, warning: str) -> None:
        """Note something that could not be recovered; each warning is kept once."""
        self._warnings[" ".join(tidy(warning).split())] = None

    def embed(self, document: ParsedDocument) -> None:
        """Add the text, headings and warnings of a document contained in this one."""
        if document.text:
            offset = self._add(document.text, "document")
            self._headings += [
                Heading(offset + head.offset, head.level, head.text) for head in document.headings
            ]
        for warning in document.warnings:
            self.warn(warning)

    def document(self) -> ParsedDocument:
        """The document as it is so far."""
        return ParsedDocument(
            text="".join(self._pieces),
            pages=tuple(min(offset, self._length) for offset in self._pages),
            headings=tuple(self._headings),
            title=" ".join(tidy(self.title).split()),
            metadata={key: text for key, value in self.metadata.items() if (text := tidy(value))},
            warnings=tuple(self._warnings),
        )

    def _separator(self, kind: str) -> str:
        if not self._pieces:
            return ""
        return "\n" if kind == self._kind and kind in ("item", "row") else "\n\n"

    def _next_offset(self, kind: str) -> int:
        return self._length + len(self._separator(kind))

    def _add(self, text: str, kind: str) -> int:
        if not text.strip():
            return self._length
        separator = self._separator(kind)
        offset = self._length + len(separator)
        self._pieces += (separator, text)
        self._length = offset + len(text)
        self._kind = kind
        return offset
