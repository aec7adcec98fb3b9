"""Form fields on a PDF page: what they hold is read beside their labels."""

from collections.abc import Iterator
from dataclasses import dataclass, field

import pypdfium2 as pdfium
import pypdfium2.raw as raw

from moli.parsing.pages.comments import annotations_of, text_value
from moli.parsing.pages.segments import Glyph

_MAX_SIZE = 12.0  # points, of the characters of a value that is not drawn
_MARGIN = 2.0  # points by which a label may reach into a field
_UNSEEN = raw.FPDF_ANNOT_FLAG_INVISIBLE | raw.FPDF_ANNOT_FLAG_HIDDEN | raw.FPDF_ANNOT_FLAG_NOVIEW
_BREAK = Glyph("\n", 0, 0, 0, 0, 0)


@dataclass(slots=True)
class FormField:
    """A field with its box in PDF coordinates.

    Attributes:
        value: the text that the file states for it.
        box: ☒ or ☐ for a check box or radio button; empty for other fields.
        glyphs: the characters that are drawn in it.
    """

    left: float
    bottom: float
    right: float
    top: float
    value: str = ""
    box: str = ""
    glyphs: list[Glyph] = field(default_factory=list)

    @property
    def has_mark(self) -> bool:
        """Whether nothing is drawn in a box but the mark that ticks it."""
        return bool(self.box) and sum(glyph.size > 0 for glyph in self.glyphs) <= 1

    def holds(self, glyph: Glyph) -> bool:
        """Whether the middle of a character is in the field."""
        x, y = (glyph.left + glyph.right) / 2, (glyph.bottom + glyph.top) / 2
        return self.left <= x <= self.right and self.bottom <= y <= self.top


def fields_of(page: pdfium.PdfPage) -> list[FormField]:
    """The form fields of a page, in the order of the file."""
    fields = []
    for annotation in annotations_of(page):
        is_field = raw.FPDFAnnot_GetSubtype(annotation) == raw.FPDF_ANNOT_WIDGET
        if not is_field or raw.FPDFAnnot_GetFlags(annotation) & _UNSEEN:
            continue
        rect = raw.FS_RECTF()
        raw.FPDFAnnot_GetRect(annotation, rect)
        state = text_value(annotation, b"AS")
        box = ("☐" if state == "Off" else "☒") if state else ""
        value = "" if box else " ".join(text_value(annotation, b"V").split())
        fields.append(FormField(rect.left, rect.bottom, rect.right, rect.top, value, box))
    return fields


def place_fields(glyphs: list[Glyph], fields: list[FormField]) -> list[Glyph]:
    """The characters of a page, with those of its fields moved behind their labels.

    Args:
        glyphs: in the order of the file; fields are drawn after all else.
    """
    if not fields:
        return glyphs
    printed = list(_printed(glyphs, fields))
    behind: dict[int, list[FormField]] = {}
    for form_field in fields:
        if not form_field.glyphs or form_field.has_mark:
            form_field.glyphs = list(_drawn(form_field))
        behind.setdefault(_place(form_field, printed), []).append(form_field)
    result: list[Glyph] = []
    for index, glyph in enumerate([_BREAK, *printed], -1):
        result.append(glyph)
        for form_field in sorted(behind.get(index, []), key=lambda each: each.left):
            result += [_BREAK, *form_field.glyphs, _BREAK]
    return result


def _printed(glyphs: list[Glyph], fields: list[FormField]) -> Iterator[Glyph]:
    """The characters outside of all fields; those inside are added to their field."""
    last: FormField | None = None
    for glyph in glyphs:
        if glyph.size:
            last = next((each for each in fields if each.holds(glyph)), None)
        if last is None:
            yield glyph
        else:
            last.glyphs.append(glyph)


def _drawn(field: FormField) -> Iterator[Glyph]:
    """The characters of a field for which none are drawn in it: its box, or its value."""
    if field.box:
        yield Glyph(field.box, field.left, field.bottom, field.right, field.top, 0)
        return
    size = min(_MAX_SIZE, field.top - field.bottom)
    for number, letter in enumerate(field.value):
        left = field.left + number * size / 2
        yield Glyph(letter, left, field.top - size, left + size / 2, field.top, 0)


def _place(field: FormField, printed: list[Glyph]) -> int:
    """The index of the character behind which a field is read; -1 for the beginning.

    That is the end of the text before it on its line, or of the line above. A box stands before
    the text that follows it, if that is nearer.
    """
    shown = [(index, glyph) for index, glyph in enumerate(printed) if glyph.size]
    line = [(index, glyph) for index, glyph in shown
            if field.bottom <= (glyph.bottom + glyph.top) / 2 <= field.top]  # fmt: skip
    before = [(field.left - glyph.right, index) for index, glyph in line]
    before = [each for each in before if each[0] >= -_MARGIN]
    following = [(glyph.left - field.right, index - 1) for index, glyph in line]
    following = [each for each in following if field.box and each[0] >= -_MARGIN]
    if before or following:
        return min([*before, *following])[1]
    above = [(index, glyph) for index, glyph in shown if glyph.bottom >= field.top - _MARGIN
             and glyph.left < field.right and glyph.right > field.left]  # fmt: skip
    lowest = min((glyph.bottom for _, glyph in above), default=0.0)
    ends = (index for index, glyph in above if glyph.bottom - lowest < _MARGIN)
    return max(ends, default=len(printed) - 1)
