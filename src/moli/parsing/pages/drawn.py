"""Characters drawn on a PDF page, and the straight lines that may rule a table."""

import ctypes
import math
from collections.abc import Iterator
from functools import partial
from itertools import islice

import pypdfium2 as pdfium
import pypdfium2.raw as raw

from moli.parsing.pages.raised import raise_numbers
from moli.parsing.pages.segments import Glyph, Line

_Point = tuple[float, float]
_MAX_PATHS = 5000
_MAX_EDGES = 8000
_MIN_LENGTH = 4.0
_MAX_SLANT = 1.0


def glyphs_of(page: pdfium.PdfPage) -> list[Glyph]:
    """The characters of the text layer with their boxes, in file order.

    Numbers that are raised are in superscript.
    """
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
        raise_numbers(glyphs, partial(_baseline, handle, glyphs))
        return glyphs
    finally:
        text.close()


def _baseline(handle: raw.FPDF_TEXTPAGE, glyphs: list[Glyph], index: int) -> float:
    """The position of a character's baseline, in points upwards on its own line of text."""
    x, y = ctypes.c_double(), ctypes.c_double()
    raw.FPDFText_GetCharOrigin(handle, index, ctypes.byref(x), ctypes.byref(y))
    angle = glyphs[index].angle  # clockwise
    return y.value * math.cos(angle) + x.value * math.sin(angle)


def lines_of(page: pdfium.PdfPage) -> list[Line]:
    """The horizontal and vertical lines, and the edges of rectangles; none on a map or drawing."""
    paths = list(
        islice(page.get_objects(filter=[raw.FPDF_PAGEOBJ_PATH], max_depth=4), _MAX_PATHS + 1)
    )
    edges = sum(raw.FPDFPath_CountSegments(path.raw) for path in paths[:_MAX_PATHS])
    if len(paths) > _MAX_PATHS or edges > _MAX_EDGES:
        return []
    lines = []
    for path in paths:
        for (x0, y0), (x1, y1) in _edges(path):
            width, height = abs(x1 - x0), abs(y1 - y0)
            if min(width, height) < _MAX_SLANT and max(width, height) > _MIN_LENGTH:
                lines.append((min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)))
    return lines


def _edges(path: pdfium.PdfObject) -> Iterator[tuple[_Point, _Point]]:
    """The straight edges of a path that is stroked or filled, as pairs of points on the page."""
    fill, stroke = ctypes.c_int(), ctypes.c_int()
    raw.FPDFPath_GetDrawMode(path.raw, ctypes.byref(fill), ctypes.byref(stroke))
    if not (fill.value or stroke.value):
        return
    matrix = path.get_matrix()
    container = path.container
    while container is not None:
        matrix = matrix.multiply(container.get_matrix())
        container = container.container
    x, y = ctypes.c_float(), ctypes.c_float()
    start = last = (0.0, 0.0)
    for index in range(raw.FPDFPath_CountSegments(path.raw)):
        segment = raw.FPDFPath_GetPathSegment(path.raw, index)
        raw.FPDFPathSegment_GetPoint(segment, ctypes.byref(x), ctypes.byref(y))
        point = matrix.on_point(x.value, y.value)
        kind = raw.FPDFPathSegment_GetType(segment)
        if kind == raw.FPDF_SEGMENT_MOVETO:
            start = point
        elif kind == raw.FPDF_SEGMENT_LINETO:
            yield last, point
        last = point
        if raw.FPDFPathSegment_GetClose(segment):
            yield point, start
            last = start
