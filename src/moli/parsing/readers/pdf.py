"""PDF: the text layer of every page, or OCR where a page is only a picture."""

import functools
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import pypdfium2 as pdfium
import pypdfium2.raw as raw

from moli.parsing.archive import DECRYPT, REPAIR
from moli.parsing.blocks import Blocks, normalize_text
from moli.parsing.limits import Limits
from moli.parsing.ocr import (
    PageRecognizer,
    RecognizedPage,
    add_recognized_page,
    even_out_sizes,
)
from moli.parsing.pages import layout
from moli.parsing.pages.breaks import join_over_breaks
from moli.parsing.pages.comments import annotations_of, comments_of
from moli.parsing.pages.drawn import glyphs_of, lines_of
from moli.parsing.pages.fields import FormField, fields_of, place_fields
from moli.parsing.pages.layout import Block, Page
from moli.parsing.pages.order import Row
from moli.parsing.pages.running import take_running_lines
from moli.parsing.pages.segments import Glyph
from moli.records.errors import DocumentError

_DPI = 300
_MAX_RENDER_SIDE = 6000
# With fewer letters than this, a picture over a fifth of the page makes it a scan.
_MIN_LETTERS = 40
_METADATA = {"Author": "author", "Subject": "subject", "Keywords": "keywords",
             "CreationDate": "created", "ModDate": "modified"}  # fmt: skip
_PDF_DATE = re.compile(r"D:(\d{4})(\d{2})?(\d{2})?")
_LETTERS = re.compile(r"[^\W_]+")


def read(data: bytes, blocks: Blocks, limits: Limits) -> None:
    """Add the document in `data` to `blocks`, a page at a time."""
    document = _open(data)
    try:
        _read_metadata(document, blocks)
        _PageReader(document, blocks, limits).read()
    finally:
        document.close()


def _open(data: bytes) -> pdfium.PdfDocument:
    """The document in `data`, which the caller must close."""
    try:
        document = pdfium.PdfDocument(data)
        if len(document) == 0:
            raise DocumentError("broken", "it has no pages", fix=REPAIR)
        return document
    except pdfium.PdfiumError as error:
        if error.err_code in (raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY):
            raise DocumentError(
                "encrypted", "it is protected by a password", fix=DECRYPT
            ) from error
        raise DocumentError("broken", f"it is damaged ({error})", fix=REPAIR) from error


@contextmanager
def _open_page(
    document: pdfium.PdfDocument, index: int
) -> Iterator[tuple[pdfium.PdfPage, list[FormField], list[str]]]:
    """A page with its form fields filled in, the fields, and its comments.

    It is closed afterwards to keep memory low.
    """
    page = document[index]
    try:
        fields, comments = fields_of(page), comments_of(page)
        if _has_form_fields(page) and raw.FPDFPage_Flatten(page, raw.FLAT_NORMALDISPLAY) == 1:
            # Filled-in values are now part of the page, but only once it is loaded again.
            page.close()
            page = document[index]
        yield page, fields, comments
    finally:
        page.close()


def _has_form_fields(page: pdfium.PdfPage) -> bool:
    """Whether the page has form fields or free text annotations."""
    kinds = map(raw.FPDFAnnot_GetSubtype, annotations_of(page))
    return any(kind in (raw.FPDF_ANNOT_WIDGET, raw.FPDF_ANNOT_FREETEXT) for kind in kinds)


def _read_metadata(document: pdfium.PdfDocument, blocks: Blocks) -> None:
    """Take over the title and properties that the document states about itself."""
    stated = document.get_metadata_dict(skip_empty=True)
    blocks.title = stated.get("Title", "")
    for key, name in _METADATA.items():
        value = stated.get(key, "")
        if date := _PDF_DATE.match(value):
            value = "-".join(part for part in date.groups() if part)
        blocks.metadata[name] = value


class _Bookmarks:
    """The bookmarks of a document: titles and their levels by page."""

    def __init__(self, document: pdfium.PdfDocument) -> None:
        self._pages: dict[int, dict[str, int]] = {}
        try:
            for bookmark in document.get_toc(max_depth=8):
                destination = bookmark.get_dest()
                index = destination.get_index() if destination is not None else None
                title = _title_key(normalize_text(bookmark.get_title()))
                if index is not None and title:
                    self._pages.setdefault(index, {}).setdefault(title, bookmark.level + 1)
        except pdfium.PdfiumError:
            self._pages.clear()

    def __bool__(self) -> bool:
        return bool(self._pages)

    def on_page(self, index: int) -> dict[str, int]:
        """The levels of the bookmarks that point to a page, by the keys of their titles."""
        return self._pages.get(index, {})


def _title_key(text: str) -> str:
    """The letters and digits of `text`, case-folded, by which titles are compared."""
    return "".join(_LETTERS.findall(text)).casefold()


@dataclass(slots=True)
class _Page:
    """A page that has been read, before its blocks are known.

    Attributes:
        text: the text layer; without rows if the page is a scan.
        recognized: the recognized text of a scan.
        comments: what readers attached to it.
    """

    text: Page
    recognized: RecognizedPage | None = None
    comments: list[str] = field(default_factory=list)

    def rows(self) -> list[Row]:
        """The rows of its upright text; those of a text layer are its own list."""
        if self.recognized is not None:
            return self.recognized.rows()
        return self.text.parts[0] if self.text.parts else []


class _PageReader:
    """Adds the pages of one document to `blocks`."""

    def __init__(self, document: pdfium.PdfDocument, blocks: Blocks, limits: Limits) -> None:
        self._document, self._blocks, self._limits = document, blocks, limits
        self._bookmarks = _Bookmarks(document)
        self._body_size = 0.0

    def read(self) -> None:
        """Add all pages; one that cannot be read becomes a warning."""
        pages = self._read_pages()
        texts = [page.text for page in pages]
        if not self._bookmarks:
            self._body_size = _body_size_of(texts)
        even_out_sizes([page.recognized for page in pages if page.recognized is not None])
        rows = [page.rows() for page in pages]
        heads = take_running_lines(rows)
        for page, kept in zip(pages, rows, strict=True):
            if page.recognized is not None:
                page.recognized.keep(kept)
        blocks = [
            list(layout.page_blocks(text, frozenset(self._bookmarks.on_page(index)), _title_key))
            for index, text in enumerate(texts)
        ]
        begun = join_over_breaks(blocks, [text.known_words for text in texts])
        for index, page in enumerate(pages):
            in_table = index > 0 and not heads[index] and _goes_on(blocks[index - 1], blocks[index])
            if index not in begun:
                self._blocks.begin_page(in_table=in_table)
            self._blocks.add_paragraph("\n".join(heads[index]))
            if page.recognized is not None:
                add_recognized_page(page.recognized, self._blocks)
            self._add_blocks(blocks[index], self._bookmarks.on_page(index), in_table=in_table)
            for comment in page.comments:
                self._blocks.add_paragraph(comment)

    def _read_pages(self) -> list[_Page]:
        """All pages; one that cannot be read is empty, and becomes a warning."""
        missing: DocumentError | None = None
        pages = []
        for index in range(len(self._document)):
            read = _Page(Page([], set()))
            try:
                with _open_page(self._document, index) as (page, fields, comments):
                    read = self._read_page(page, fields)
                    read.comments = comments
            except pdfium.PdfiumError:
                self._blocks.warn(f"page {index + 1} could not be read")
            except DocumentError as error:
                if error.reason != "missing_tool":
                    raise
                missing = error
                self._blocks.warn(f"page {index + 1} is a scan and was left out: {error.what}")
            pages.append(read)
        if missing is not None and not any(page.text.parts or page.recognized for page in pages):
            raise missing
        return pages

    def _read_page(self, page: pdfium.PdfPage, fields: list[FormField]) -> _Page:
        """One page: its text layer, or its recognized text if it is a scan."""
        glyphs = place_fields(glyphs_of(page), fields)
        text = layout.read_page(glyphs, lines_of(page))
        if _is_scan(page, glyphs):
            recognized = self._recognize(page)
            # A picture may hold less text than the few words of text layer on the same page.
            if recognized.letters >= text.letters // 2:
                return _Page(Page([], set()), recognized)
        return _Page(text)

    def _add_blocks(self, blocks: list[Block], titles: dict[str, int], *, in_table: bool) -> None:
        """Add the blocks of a page.

        Args:
            titles: levels of its headings by title.
            in_table: whether its first rows belong to the table before it.
        """
        last = ("row" if in_table else "", "")
        for block in blocks:
            if (block.kind, block.marker) != last:
                self._blocks.end_group()
            last = (block.kind, block.marker)
            self._add_block(block, titles)

    def _recognize(self, page: pdfium.PdfPage) -> RecognizedPage:
        """The page rendered as an image and recognized."""
        scale = min(_DPI / 72, _MAX_RENDER_SIDE / max(page.get_size()))
        bitmap = page.render(scale=scale, grayscale=True)
        try:
            return self._recognizer.recognize(bitmap.to_pil(), dpi=round(scale * 72))
        finally:
            bitmap.close()

    @functools.cached_property
    def _recognizer(self) -> PageRecognizer:
        """The recognizer of scanned pages, created when the first of them is read."""
        return PageRecognizer(self._blocks, self._limits)

    def _add_block(self, block: Block, titles: dict[str, int]) -> None:
        """Add a paragraph, item or row, as a heading if it is one."""
        level = titles.get(_title_key(block.text), 0)
        if not level and self._body_size:
            level = _heading_level(block, self._body_size)
        if block.kind == "row":
            self._blocks.add_row(block.cells)
        elif level and not block.page_starts:
            self._blocks.add_heading(block.text, level)
        elif block.kind == "item":
            self._blocks.add_item(block.text, block.marker, page_starts=block.page_starts)
        else:
            self._blocks.add_paragraph(block.text, block.page_starts)


def _goes_on(blocks: list[Block], following: list[Block]) -> bool:
    """Whether a page ends and the next begins with table rows of as many columns."""
    if not blocks or not following:
        return False
    last, first = blocks[-1], following[0]
    return last.kind == first.kind == "row" and len(last.cells) == len(first.cells)


def _heading_level(block: Block, body: float) -> int:
    """The heading level of a short block clearly larger than the body text; 0 if it is none."""
    ratio = block.size / body
    if block.kind != "text" or ratio < 1.15 or block.lines > 3 or len(block.text) > 160:
        return 0
    if sum(character.isalpha() for character in block.text) < 2 or block.text.endswith((".", "。")):
        return 0
    return 1 if ratio >= 1.6 else 2 if ratio >= 1.3 else 3


def _body_size_of(pages: list[Page]) -> float:
    """The commonest font size of the letters on the pages; 0 if they have no text."""
    sizes: Counter[float] = Counter()
    for page in pages:
        for part in page.segments():
            sizes[round(part.size, 1)] += len(part.text)
    return sizes.most_common(1)[0][0] if sizes else 0.0


def _is_scan(page: pdfium.PdfPage, glyphs: list[Glyph]) -> bool:
    """Whether the text layer is missing or useless, so that the page needs OCR."""
    letters = [glyph.text for glyph in glyphs if glyph.size]
    unreadable = sum(
        "\ue000" <= text <= "\uf8ff" or text in ("\ufffd", "\0") or "\x03" <= text < " "
        for text in letters
    )
    if letters and unreadable > 0.3 * len(letters):
        return True
    if len(letters) >= _MIN_LETTERS * 5:
        return False
    covered = _share_covered_by_pictures(page)
    if len(letters) >= _MIN_LETTERS:
        return covered > 0.85
    return covered > 0.2 or (not letters and _has_many_shapes(page))


def _share_covered_by_pictures(page: pdfium.PdfPage) -> float:
    """Share of the page that pictures cover, at most 1."""
    width, height = page.get_size()
    covered = 0.0
    for image in page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=4):
        left, bottom, right, top = image.get_bounds()
        covered += max(0.0, min(right - left, width)) * max(0.0, min(top - bottom, height))
    return float(min(1.0, covered / max(1.0, width * height)))


def _has_many_shapes(page: pdfium.PdfPage) -> bool:
    """Whether the page has many drawn objects, which may be letters turned into outlines."""
    return bool(raw.FPDFPage_CountObjects(page) > 20)
