"""PDF: the text layer of every page, or OCR where a page is only a picture."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

import pypdfium2 as pdfium
import pypdfium2.raw as raw

from moli.parsing.archive import DECRYPT, REPAIR
from moli.parsing.blocks import Blocks, normalize_text
from moli.parsing.limits import Limits
from moli.parsing.ocr.recognizer import PageRecognizer
from moli.parsing.pages import layout
from moli.parsing.pages.comments import annotations_of, comments_of
from moli.parsing.pages.document import add_pages, title_key
from moli.parsing.pages.drawn import glyphs_of, lines_of
from moli.parsing.pages.fields import FormField, fields_of, place_fields
from moli.parsing.pages.layout import Page
from moli.parsing.pages.segments import Glyph
from moli.records.errors import DocumentError

_DPI = 300
_MAX_RENDER_SIDE = 6000
# With fewer letters than this, a picture over a fifth of the page makes it a scan.
_MIN_LETTERS = 40
_METADATA = {"Author": "author", "Subject": "subject", "Keywords": "keywords",
             "CreationDate": "created", "ModDate": "modified"}  # fmt: skip
_PDF_DATE = re.compile(r"D:(\d{4})(\d{2})?(\d{2})?")


def read(data: bytes, blocks: Blocks, limits: Limits) -> None:
    """Add the document in `data` to `blocks`, a page at a time."""
    document = _open(data)
    try:
        _read_metadata(document, blocks)
        pages = _PageReader(document, blocks, limits).read()
        add_pages(pages, blocks, _titles_of(document))
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


def _titles_of(document: pdfium.PdfDocument) -> dict[int, dict[str, int]]:
    """The titles and levels of the bookmarks, by the indices of the pages that they point to."""
    titles: dict[int, dict[str, int]] = {}
    try:
        for bookmark in document.get_toc(max_depth=8):
            destination = bookmark.get_dest()
            index = destination.get_index() if destination is not None else None
            title = title_key(normalize_text(bookmark.get_title()))
            if index is not None and title:
                titles.setdefault(index, {}).setdefault(title, bookmark.level + 1)
    except pdfium.PdfiumError:
        return {}
    return titles


class _PageReader:
    """Reads the pages of one document."""

    def __init__(self, document: pdfium.PdfDocument, blocks: Blocks, limits: Limits) -> None:
        self._document, self._blocks = document, blocks
        self._recognizer = PageRecognizer(blocks, limits)

    def read(self) -> list[Page]:
        """All pages; one that cannot be read is empty, and becomes a warning."""
        pages = []
        for index in range(len(self._document)):
            read = Page([], set())
            try:
                with _open_page(self._document, index) as (page, fields, comments):
                    read = self._read_page(page, fields)
                    read.comments = comments
            except pdfium.PdfiumError:
                self._blocks.warn(f"page {index + 1} could not be read")
            pages.append(read)
        return pages

    def _read_page(self, page: pdfium.PdfPage, fields: list[FormField]) -> Page:
        """One page: its text layer, or its recognized text if it is a scan."""
        glyphs = place_fields(glyphs_of(page), fields)
        text = layout.read_page(glyphs, lines_of(page))
        if _is_scan(page, glyphs):
            recognized = self._recognize(page)
            # A picture may hold less text than the few words of text layer on the same page.
            if recognized.letters >= text.letters // 2:
                return recognized
        return text

    def _recognize(self, page: pdfium.PdfPage) -> Page:
        """The page rendered as an image and recognized."""
        scale = min(_DPI / 72, _MAX_RENDER_SIDE / max(page.get_size()))
        bitmap = page.render(scale=scale, grayscale=True)
        try:
            return self._recognizer.recognize(bitmap.to_pil())
        finally:
            bitmap.close()


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
