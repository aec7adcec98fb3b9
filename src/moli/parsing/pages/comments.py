"""The comments that readers of a PDF attached to its pages."""

import ctypes
from collections.abc import Iterator

import pypdfium2 as pdfium
import pypdfium2.raw as raw

_MAX_ANNOTATIONS = 1000
# Annotations whose text is a comment; that of others is on the page itself.
_COMMENTS = {
    raw.FPDF_ANNOT_TEXT, raw.FPDF_ANNOT_HIGHLIGHT, raw.FPDF_ANNOT_UNDERLINE,
    raw.FPDF_ANNOT_SQUIGGLY, raw.FPDF_ANNOT_STRIKEOUT, raw.FPDF_ANNOT_CARET,
}  # fmt: skip


def comments_of(page: pdfium.PdfPage) -> list[str]:
    """The comments on a page, each with its author, in the order in which they are stored."""
    comments: list[str] = []
    for annotation in annotations_of(page):
        if raw.FPDFAnnot_GetSubtype(annotation) in _COMMENTS:
            text = " ".join(text_value(annotation, b"Contents").split())
            author = text_value(annotation, b"T").strip()
            if text:
                comments.append(
                    f"[Comment by {author}: {text}]" if author else f"[Comment: {text}]"
                )
    return comments


def annotations_of(page: pdfium.PdfPage) -> Iterator[raw.FPDF_ANNOTATION]:
    """The annotations of a page, each of which may be used until the next one."""
    for number in range(min(raw.FPDFPage_GetAnnotCount(page), _MAX_ANNOTATIONS)):
        annotation = raw.FPDFPage_GetAnnot(page, number)
        try:
            yield annotation
        finally:
            raw.FPDFPage_CloseAnnot(annotation)


def text_value(annotation: raw.FPDF_ANNOTATION, key: bytes) -> str:
    """A text that an annotation states; empty if it does not."""
    size = raw.FPDFAnnot_GetStringValue(annotation, key, None, 0)  # Bytes of UTF-16 and a zero.
    buffer = ctypes.create_string_buffer(size)
    raw.FPDFAnnot_GetStringValue(
        annotation, key, ctypes.cast(buffer, ctypes.POINTER(raw.FPDF_WCHAR)), size
    )
    return buffer.raw.decode("utf-16-le", "replace").rstrip("\0")
