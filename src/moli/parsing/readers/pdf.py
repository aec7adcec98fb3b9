"""PDF: text where there is a layer of it, recognition where a page is only a picture."""

import ctypes
import functools
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

import pypdfium2 as pdfium
import pypdfium2.raw as raw

from moli.parsing.archive import DECRYPT, REPAIR
from moli.parsing.blocks import Blocks, clean
from moli.parsing.limits import Limits
from moli.parsing.ocr import Recognised, Recogniser, add_page
from moli.parsing.pages import layout
from moli.parsing.pages.layout import Block
from moli.parsing.pages.segments import Glyph
from moli.records.errors import DocumentError

_DPI = 300
_MAX_RENDER_SIDE = 6000
# A page with fewer letters than this and a picture over half of it is taken for a scan.
_FEW_LETTERS = 40
_SAMPLE_PAGES = 12
_METADATA = {"Author": "author", "Subject": "subject", "Keywords": "keywords",
             "CreationDate": "created", "ModDate": "modified"}  # fmt: skip
_PDF_DATE = re.compile(r"D:(\d{4})(\d{2})?(\d{2})?")
_LETTERS = re.compile(r"[^\W_]+")


def read(data: bytes, blocks: Blocks, limits: Limits) -> None:
    """Add the document in `data` to `blocks`, a page at a time."""
    document = _open(data)
    try:
        _metadata(document, blocks)
        _Reader(document, blocks, limits).read()
    finally:
        document.close()


def _open(data: bytes) -> pdfium.PdfDocument:
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
def _page(document: pdfium.PdfDocument, index: int) -> Iterator[pdfium.PdfPage]:
    """A page that is closed at once: a long document must not gather in memory."""
    page = document[index]
    try:
        if _has_fields(page) and raw.FPDFPage_Flatten(page, raw.FLAT_NORMALDISPLAY) == 1:
            # What was filled in is now part of the page, but only once it is loaded again.
            page.close()
            page = document[index]
        yield page
    finally:
        page.close()


def _has_fields(page: pdfium.PdfPage) -> bool:
    for number in range(min(raw.FPDFPage_GetAnnotCount(page), 1000)):
        annotation = raw.FPDFPage_GetAnnot(page, number)
        kind = raw.FPDFAnnot_GetSubtype(annotation)
        raw.FPDFPage_CloseAnnot(annotation)
        if kind in (raw.FPDF_ANNOT_WIDGET, raw.FPDF_ANNOT_FREETEXT):
            return True
    return False


def _metadata(document: pdfium.PdfDocument, blocks: Blocks) -> None:
    stated = document.get_metadata_dict(skip_empty=True)
    blocks.title = stated.get("Title", "")
    for key, name in _METADATA.items():
        value = stated.get(key, "")
        if date := _PDF_DATE.match(value):
            value = "-".join(part for part in date.groups() if part)
        blocks.metadata[name] = value


class _Outline:
    """The bookmarks: which titles stand on which page, and their level."""

    def __init__(self, document: pdfium.PdfDocument) -> None:
        self._pages: dict[int, dict[str, int]] = {}
        try:
            for bookmark in document.get_toc(max_depth=8):
                destination = bookmark.get_dest()
                index = destination.get_index() if destination is not None else None
                title = _key(clean(bookmark.get_title()))
                if index is not None and title:
                    self._pages.setdefault(index, {}).setdefault(title, bookmark.level + 1)
        except pdfium.PdfiumError:
            self._pages.clear()

    def __bool__(self) -> bool:
        return bool(self._pages)

    def on(self, index: int) -> dict[str, int]:
        """Title -> level on a page; titles are compared by their letters and digits."""
        return self._pages.get(index, {})


def _key(text: str) -> str:
    return "".join(_LETTERS.findall(text)).casefold()


def _glyphs(page: pdfium.PdfPage) -> list[Glyph]:
    """The characters of the text layer with their boxes, in the order of the file."""
    text = page.get_textpage()
    try:
        box, handle = raw.FS_RECTF(), text.raw
        reference = ctypes.byref(box)
        glyphs = []
        angle = 0.0
        for index in range(text.count_chars()):
            code = raw.FPDFText_GetUnicode(handle, index)
            if code in (0x0A, 0x0D, 0x20, 0xA0, 0x09):
                glyphs.append(Glyph(chr(code), 0, 0, 0, 0, angle))
                continue
            raw.FPDFText_GetLooseCharBox(handle, index, reference)
            angle = raw.FPDFText_GetCharAngle(handle, index)
            glyphs.append(Glyph(chr(code), box.left, box.bottom, box.right, box.top, angle))
        return glyphs
    finally:
        text.close()


class _Reader:
    """Adds the pages of one document to `blocks`."""

    def __init__(self, document: pdfium.PdfDocument, blocks: Blocks, limits: Limits) -> None:
        self._document, self._blocks, self._limits = document, blocks, limits
        self._outline = _Outline(document)
        self._body = 0.0 if self._outline else _body_size(document)

    def read(self) -> None:
        missing: DocumentError | None = None
        for index in range(len(self._document)):
            self._blocks.page()
            try:
                with _page(self._document, index) as page:
                    self._page(page, self._outline.on(index))
            except pdfium.PdfiumError:
                self._blocks.warn(f"page {index + 1} could not be read")
            except DocumentError as error:
                if error.reason != "missing_tool":
                    raise
                missing = error
                self._blocks.warn(f"page {index + 1} is a scan and was left out: {error.what}")
        if missing is not None and not self._blocks.document().text:
            raise missing

    def _page(self, page: pdfium.PdfPage, titles: dict[str, int]) -> None:
        glyphs = _glyphs(page)
        found = list(layout.blocks(glyphs, frozenset(titles), _key))
        if _is_scan(page, glyphs):
            recognised = self._recognised(page)
            # A picture may say less than the few words of text beside it.
            if recognised.letters >= sum(len(block.text) for block in found) // 2:
                add_page(recognised, self._blocks)
                return
        last = ("", "")
        for block in found:
            if (block.kind, block.marker) != last:
                self._blocks.end()
            last = (block.kind, block.marker)
            self._add(block, titles)

    def _recognised(self, page: pdfium.PdfPage) -> Recognised:
        scale = min(_DPI / 72, _MAX_RENDER_SIDE / max(page.get_size()))
        bitmap = page.render(scale=scale, grayscale=True)
        try:
            return self._recogniser.recognise(bitmap.to_pil(), dpi=round(scale * 72))
        finally:
            bitmap.close()

    @functools.cached_property
    def _recogniser(self) -> Recogniser:
        return Recogniser(self._blocks, self._limits)

    def _add(self, block: Block, titles: dict[str, int]) -> None:
        level = titles.get(_key(block.text), 0)
        if not level and self._body:
            level = _level(block, self._body)
        if block.kind == "row":
            self._blocks.row(block.cells)
        elif level:
            self._blocks.heading(block.text, level)
        elif block.kind == "item":
            self._blocks.item(block.text, block.marker)
        else:
            self._blocks.paragraph(block.text)


def _level(block: Block, body: float) -> int:
    """The heading level that a size suggests: short, and clearly larger than the text."""
    ratio = block.size / body
    if block.kind != "text" or ratio < 1.15 or block.lines > 3 or len(block.text) > 160:
        return 0
    if sum(character.isalpha() for character in block.text) < 2 or block.text.endswith((".", "。")):
        return 0
    return 1 if ratio >= 1.6 else 2 if ratio >= 1.3 else 3


def _body_size(document: pdfium.PdfDocument) -> float:
    """The commonest size of letters over some pages of the document."""
    sizes: Counter[float] = Counter()
    step = max(1, len(document) // _SAMPLE_PAGES)
    for index in range(0, len(document), step):
        try:
            with _page(document, index) as page:
                sizes.update(round(glyph.size, 1) for glyph in _glyphs(page) if glyph.size)
        except pdfium.PdfiumError:
            continue
    return sizes.most_common(1)[0][0] if sizes else 0.0


def _is_scan(page: pdfium.PdfPage, glyphs: list[Glyph]) -> bool:
    """Whether the text layer is missing or useless."""
    letters = [glyph.text for glyph in glyphs if glyph.size]
    unreadable = sum(
        "\ue000" <= text <= "\uf8ff" or text in ("\ufffd", "\0") or "\x03" <= text < " "
        for text in letters
    )
    if letters and unreadable > 0.3 * len(letters):
        return True
    if len(letters) >= _FEW_LETTERS * 5:
        return False
    covered = _picture_share(page)
    if len(letters) >= _FEW_LETTERS:
        return covered > 0.85
    return covered > 0.2 or (not letters and _has_shapes(page))


def _picture_share(page: pdfium.PdfPage) -> float:
    """The part of the page that pictures cover, at most 1."""
    width, height = page.get_size()
    covered = 0.0
    for image in page.get_objects(filter=[raw.FPDF_PAGEOBJ_IMAGE], max_depth=4):
        left, bottom, right, top = image.get_bounds()
        covered += max(0.0, min(right - left, width)) * max(0.0, min(top - bottom, height))
    return float(min(1.0, covered / max(1.0, width * height)))


def _has_shapes(page: pdfium.PdfPage) -> bool:
    """Whether much is drawn: letters may have been turned into outlines."""
    return bool(raw.FPDFPage_CountObjects(page) > 20)
