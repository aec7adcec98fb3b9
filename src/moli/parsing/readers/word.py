"""Word documents: paragraphs, headings, numbered lists, tables, text boxes, notes."""

import re
from collections.abc import Iterator

from lxml import etree

from moli.parsing.archive import Archive
from moli.parsing.blocks import Blocks
from moli.parsing.limits import Limits
from moli.parsing.office.charts import add_chart
from moli.parsing.office.equations import linear
from moli.parsing.office.markup import (
    attribute,
    child,
    children,
    core_properties,
    descendants,
    local,
    parse_xml,
    relations,
)
from moli.parsing.office.numbering import Numbering
from moli.records.errors import DocumentError

_HEADING = re.compile(r"(?:heading|标题|überschrift|titre)\s*(\d)$", re.IGNORECASE)
# Containers whose content belongs to the text around them.
_TRANSPARENT = {"hyperlink", "smartTag", "ins", "moveTo", "fldSimple", "sdt", "sdtContent",
                "customXml", "dir", "bdo", "r", "ruby", "rubyBase"}  # fmt: skip
_CHARACTERS = {"tab": " ", "ptab": " ", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}
_CHECKBOXES = {"2612": "☒", "2610": "☐", "F0FE": "☒", "F0A8": "☐", "F0FC": "✓"}


def read(data: bytes, blocks: Blocks, limits: Limits) -> None:
    """Add the document in `data` to `blocks`."""
    archive = Archive(data, limits)
    parts = [part for kind, part in relations(archive, "").values() if kind == "officeDocument"]
    main = parts[0] if parts else "word/document.xml"
    blocks.title, blocks.metadata = core_properties(archive)
    body = child(parse_xml(archive.read(main)), "body")
    if body is not None:
        _Reader(archive, main, blocks).blocks_of(body)


class _Style:
    """What a paragraph style says about structure, with what it inherits."""

    def __init__(self, root: etree._Element | None) -> None:
        self._styles: dict[str, etree._Element] = {}
        self.default = ""
        for style in children(root, "style") if root is not None else ():
            identifier = attribute(style, "styleId")
            self._styles[identifier] = style
            if attribute(style, "type") == "paragraph" and attribute(style, "default") == "1":
                self.default = identifier

    def chain(self, identifier: str) -> Iterator[etree._Element]:
        """The style and those it is based on, nearest first."""
        seen: set[str] = set()
        while identifier in self._styles and identifier not in seen:
            seen.add(identifier)
            yield self._styles[identifier]
            identifier = _value(child(self._styles[identifier], "basedOn"))

    def level(self, identifier: str) -> int:
        """The heading level of a style, or 0."""
        for style in self.chain(identifier):
            name = _value(child(style, "name"))
            if found := _HEADING.match(name.strip()):
                return int(found[1])
            if name.lower() in ("title", "标题"):
                return 1
            outline = _value(child(style, "pPr", "outlineLvl"))
            if outline:
                return int(outline) + 1 if outline.isdigit() and int(outline) < 9 else 0
        return 0

    def numbering(self, identifier: str) -> etree._Element | None:
        """The numbering that a style brings along."""
        for style in self.chain(identifier):
            found = child(style, "pPr", "numPr")
            if found is not None:
                return found
        return None


class _Reader:
    """Walks one document part; notes are written after the paragraph that refers to them."""

    def __init__(self, archive: Archive, main: str, blocks: Blocks) -> None:
        self._blocks = blocks
        targets = relations(archive, main)
        self._parts = dict(targets.values())
        self._targets = {identifier: part for identifier, (_, part) in targets.items()}
        self._archive = archive
        self._styles = _Style(self._part("styles"))
        self._numbering = Numbering(self._part("numbering"))
        self._notes = {
            kind: {attribute(note, "id"): note for note in children(root, kind)}
            for kind in ("footnote", "endnote", "comment")
            if (root := self._part(kind + "s")) is not None
        }

    def _part(self, kind: str) -> etree._Element | None:
        name = self._parts.get(kind, "")
        if name not in self._archive:
            return None
        try:
            return parse_xml(self._archive.read(name))
        except DocumentError as error:
            if error.reason != "broken":
                raise
            self._blocks.warn(f"its {kind} could not be read")
            return None

    def blocks_of(self, container: etree._Element) -> None:
        """Add everything in a body, cell, text box or content control."""
        for element in container:
            name = local(element)
            if name == "p":
                self._paragraph(element)
            elif name == "tbl":
                self._table(element)
            elif name in ("sdt", "sdtContent", "customXml", "ins", "moveTo"):
                self.blocks_of(element)
            elif name in ("oMathPara", "oMath"):
                self._blocks.paragraph(linear(element))

    def _paragraph(self, paragraph: etree._Element) -> None:
        extras: list[etree._Element] = []
        text = "".join(_inline(paragraph, extras))
        properties = child(paragraph, "pPr")
        level, number = self._structure(properties)
        if not text.strip():
            level = 0
        elif level:
            marker = self._numbering.marker(number) if number is not None else ""
            self._blocks.heading(f"{marker} {text}" if marker not in ("", "-") else text, level)
        elif number is not None and (marker := self._numbering.marker(number)):
            self._blocks.item(text, marker + " ", self._numbering.depth(number))
        else:
            self._blocks.paragraph(text)
        for extra in extras:
            self._extra(extra)

    def _structure(self, properties: etree._Element | None) -> tuple[int, etree._Element | None]:
        """The heading level (0: none) and the numbering of a paragraph."""
        style = _value(child(properties, "pStyle")) or self._styles.default
        outline = _value(child(properties, "outlineLvl"))
        level = self._styles.level(style)
        if outline.isdigit():
            level = int(outline) + 1 if int(outline) < 9 else 0
        number = child(properties, "numPr")
        return level, number if number is not None else self._styles.numbering(style)

    def _extra(self, element: etree._Element) -> None:
        """A text box, or the note or comment that a reference points to."""
        name = local(element)
        if name == "txbxContent":
            self.blocks_of(element)
            return
        if name == "chart":
            target = self._targets.get(attribute(element, "id"), "")
            if target in self._archive:
                add_chart(parse_xml(self._archive.read(target)), self._blocks)
            return
        kind = name.removesuffix("Reference")
        note = self._notes.get(kind, {}).get(attribute(element, "id"))
        if note is None:
            return
        text = self._flat(note)
        if kind == "comment":
            author = attribute(note, "author")
            text = f"[Comment by {author}: {text}]" if author else f"[Comment: {text}]"
        self._blocks.paragraph(text)

    def _flat(self, container: etree._Element) -> str:
        """The text of a note or cell on one line, nested tables left out."""
        texts = []
        for element in container:
            name = local(element)
            if name == "p":
                extras: list[etree._Element] = []
                text = "".join(_inline(element, extras))
                _, number = self._structure(child(element, "pPr"))
                if number is not None and text.strip():
                    text = f"{self._numbering.marker(number)} {text}"
                texts += [text, *(self._flat(box) for box in extras if local(box) == "txbxContent")]
            elif name in ("sdt", "sdtContent", "customXml", "ins", "moveTo"):
                texts.append(self._flat(element))
        return " ".join(text for text in texts if text.strip())

    def _table(self, table: etree._Element) -> None:
        rows = [list(_cells(row)) for row in _rows(table)]
        if sum(len(row) for row in rows) == 1:
            # A single cell is a frame around text, not a table.
            self._blocks.end()
            self.blocks_of(rows[0][0])
            return
        self._blocks.end()
        above: dict[int, str] = {}
        for row in rows:
            above = dict(self._row(row, above))
            self._blocks.row(above.get(column, "") for column in range(max(above, default=-1) + 1))
            for cell in row:
                for nested in _tables(cell):
                    self._table(nested)
        self._blocks.end()

    def _row(self, row: list[etree._Element], above: dict[int, str]) -> Iterator[tuple[int, str]]:
        """Column -> text; a cell that spans rows is repeated, so that each can stand alone."""
        column = 0
        for cell in row:
            merge = child(cell, "tcPr", "vMerge")
            continued = merge is not None and attribute(merge, "val") != "restart"
            yield column, above.get(column, "") if continued else self._flat(cell)
            span = _value(child(cell, "tcPr", "gridSpan"))
            column += int(span) if span.isdigit() and 0 < int(span) < 64 else 1


def _rows(table: etree._Element) -> Iterator[etree._Element]:
    for element in table:
        name = local(element)
        if name == "tr":
            yield element
        elif name in ("sdt", "sdtContent", "customXml", "ins"):
            yield from _rows(element)


def _cells(row: etree._Element) -> Iterator[etree._Element]:
    for element in row:
        name = local(element)
        if name == "tc":
            yield element
        elif name in ("sdt", "sdtContent", "customXml"):
            yield from _cells(element)


def _tables(cell: etree._Element) -> Iterator[etree._Element]:
    for element in cell:
        name = local(element)
        if name == "tbl":
            yield element
        elif name in ("sdt", "sdtContent"):
            yield from _tables(element)


def _value(element: etree._Element | None) -> str:
    return attribute(element, "val") if element is not None else ""


def _inline(element: etree._Element, extras: list[etree._Element]) -> Iterator[str]:
    """The text inside a paragraph or run; text boxes and references go to `extras`."""
    if local(element) == "r" and _hidden(element):
        return
    for part in element:
        name = local(part)
        if name == "t":
            yield part.text or ""
        elif name in _CHARACTERS:
            yield _CHARACTERS[name] if attribute(part, "type") != "page" else " "
        elif name in _TRANSPARENT:
            yield from _inline(part, extras)
        elif name == "sym":
            code = attribute(part, "char").upper()
            yield _CHECKBOXES.get(code, "•" if code == "F0B7" else "")
        elif name in ("oMath", "oMathPara"):
            yield f" {linear(part)} "
        elif name == "AlternateContent":
            yield from _alternative(part, extras)
        elif name in ("drawing", "pict", "object"):
            extras += _boxes(part)
            extras += descendants(part, "chart")
        elif name in ("footnoteReference", "endnoteReference", "commentReference"):
            extras.append(part)


def _hidden(run: etree._Element) -> bool:
    vanish = child(run, "rPr", "vanish")
    return vanish is not None and attribute(vanish, "val") not in ("0", "false", "off")


def _alternative(element: etree._Element, extras: list[etree._Element]) -> Iterator[str]:
    """One of the renderings of the same content: the first that has any."""
    for rendering in element:
        inner: list[etree._Element] = []
        texts = list(_inline(rendering, inner))
        if inner or any(text.strip() for text in texts):
            extras += inner
            yield from texts
            return


def _boxes(drawing: etree._Element) -> Iterator[etree._Element]:
    """The outermost text boxes of a drawing, each once."""
    fallback = {box for part in descendants(drawing, "Fallback")
                for box in descendants(part, "txbxContent")}  # fmt: skip
    outer: set[etree._Element] = set()
    for box in descendants(drawing, "txbxContent"):
        if box not in fallback and not any(above in outer for above in box.iterancestors()):
            outer.add(box)
            yield box
