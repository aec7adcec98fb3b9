"""Word documents: paragraphs, headings, numbered lists, tables, text boxes, notes, headers."""

import re
from collections.abc import Iterable, Iterator

from lxml import etree

from moli.parsing.archive import Archive
from moli.parsing.blocks import Blocks
from moli.parsing.limits import Limits
from moli.parsing.office.charts import add_chart
from moli.parsing.office.equations import equation_text
from moli.parsing.office.markup import (
    NO_RELATIONSHIP,
    add_core_properties,
    attribute,
    child,
    children,
    descendants,
    is_superscript,
    local_name,
    main_part,
    parse_xml,
    relation_id,
    relationships,
    val,
)
from moli.parsing.office.numbering import Numbering
from moli.parsing.office.symbols import symbol_character
from moli.parsing.pages.running import is_page_number
from moli.parsing.raised import raise_number
from moli.records.errors import DocumentError

_HEADING = re.compile(r"(?:heading|标题|überschrift|titre)\s*(\d)$", re.IGNORECASE)
# Containers whose content belongs to the text around them.
_INLINE_CONTAINERS = {"hyperlink", "smartTag", "ins", "moveTo", "fldSimple", "sdt", "sdtContent",
                "customXml", "dir", "bdo", "r", "ruby", "rubyBase"}  # fmt: skip
_CONTROLS = ("sdt", "sdtContent")
_CHARACTERS = {"tab": " ", "ptab": " ", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}
_OFF = ("0", "false", "off")


def read(data: bytes, blocks: Blocks, limits: Limits) -> None:
    """Add the document in `data` to `blocks`."""
    archive = Archive(data, limits)
    main = main_part(archive, "word/document.xml")
    add_core_properties(archive, blocks)
    body = child(parse_xml(archive.read(main)), "body")
    if body is None:
        return
    reader = _DocumentReader(archive, main, blocks)
    sections = list(_sections(body))
    for section, properties in sections:
        reader.add_running_text(properties, "header")
        reader.add_content(section)
    for _, properties in sections:
        reader.add_running_text(properties, "footer")
    if next(body.iter("{*}del", "{*}moveFrom"), None) is not None:
        blocks.warn("its tracked changes are read as if they were accepted")


def _sections(body: etree._Element) -> Iterator[tuple[list[etree._Element], etree._Element]]:
    """The elements of each section, and the section's properties, which its last element has."""
    section: list[etree._Element] = []
    properties = body
    for element in body:
        section.append(element)
        own = next(element.iter("{*}sectPr"), None)
        if own is not None:
            yield section, own
            section, properties = [], own
    if section:  # A damaged document may lack the properties of its last section.
        yield section, properties


class _ParagraphStyles:
    """The heading levels and numberings that paragraph styles define or inherit."""

    def __init__(self, root: etree._Element | None) -> None:
        self._styles: dict[str, etree._Element] = {}
        self.default = ""
        for style in children(root, "style") if root is not None else ():
            identifier = attribute(style, "styleId")
            self._styles[identifier] = style
            if attribute(style, "type") == "paragraph" and attribute(style, "default") == "1":
                self.default = identifier

    def with_ancestors(self, identifier: str) -> Iterator[etree._Element]:
        """The style and the styles that it is based on, nearest first."""
        seen: set[str] = set()
        while identifier in self._styles and identifier not in seen:
            seen.add(identifier)
            yield self._styles[identifier]
            identifier = val(child(self._styles[identifier], "basedOn"))

    def heading_level(self, identifier: str) -> int:
        """The heading level of a style; 0 if it is not for headings."""
        for style in self.with_ancestors(identifier):
            name = val(child(style, "name"))
            if match := _HEADING.match(name.strip()):
                return int(match[1])
            if name.lower() in ("title", "标题"):
                return 1
            outline = val(child(style, "pPr", "outlineLvl"))
            if outline:
                return int(outline) + 1 if outline.isdigit() and int(outline) < 9 else 0
        return 0

    def numbering(self, identifier: str) -> etree._Element | None:
        """The numbering properties of a style; None if it has none."""
        for style in self.with_ancestors(identifier):
            properties = child(style, "pPr", "numPr")
            if properties is not None:
                return properties
        return None


class _DocumentReader:
    """Adds a document's main part to `blocks`, each note after the paragraph that refers to it."""

    def __init__(self, archive: Archive, main: str, blocks: Blocks) -> None:
        self._blocks = blocks
        targets = relationships(archive, main)
        self._part_names = {target.kind: target.part for target in targets.values()}
        self._targets = targets
        self._archive = archive
        self._styles = _ParagraphStyles(self._parse_part("styles"))
        self._numbering = Numbering(self._parse_part("numbering"))
        self._notes = {
            kind: {attribute(note, "id"): note for note in children(root, kind)}
            for kind in ("footnote", "endnote", "comment")
            if (root := self._parse_part(kind + "s")) is not None
        }
        self._open_notes: set[etree._Element] = set()
        settings = self._parse_part("settings")
        self._has_even_headers = child(settings, "evenAndOddHeaders") is not None
        self._running: set[str] = set()

    def _parse_part(self, kind: str) -> etree._Element | None:
        """The root of the part with that kind of relationship; None if missing or damaged."""
        return self._parse(self._part_names.get(kind, ""), kind)

    def _parse(self, name: str, kind: str) -> etree._Element | None:
        """The root of a part; None if missing or damaged. Warnings call it `kind`."""
        if name not in self._archive:
            return None
        try:
            return parse_xml(self._archive.read(name))
        except DocumentError as error:
            if error.reason != "broken":
                raise
            self._blocks.warn(f"its {kind} could not be read")
            return None

    def add_running_text(self, section: etree._Element, kind: str) -> None:
        """Add each header or footer that is not known yet, without those that only number pages.

        Args:
            section: the properties of a section.
            kind: `header` or `footer`.
        """
        shown = {"default", "first" if child(section, "titlePg") is not None else "",
                 "even" if self._has_even_headers else ""}  # fmt: skip
        for reference in children(section, f"{kind}Reference"):
            part = self._targets.get(relation_id(reference), NO_RELATIONSHIP).part
            root = self._parse(part, kind) if attribute(reference, "type") in shown else None
            if root is None:
                continue
            text = " ".join(part.text or "" for part in descendants(root, "t"))
            if text not in self._running and not is_page_number(text):
                self._blocks.end_group()
                self.add_content(root)
                self._running.add(text)

    def add_content(self, container: Iterable[etree._Element]) -> None:
        """Add everything in a body, cell, text box or content control."""
        for element in container:
            name = local_name(element)
            if name == "p":
                self._add_paragraph(element)
            elif name == "tbl":
                self._add_table(element)
            elif name in ("sdt", "sdtContent", "customXml", "ins", "moveTo"):
                self.add_content(element)
            elif name in ("oMathPara", "oMath"):
                self._blocks.add_paragraph(equation_text(element))

    def _add_paragraph(self, paragraph: etree._Element) -> None:
        """Add a paragraph as heading, list item or text, then the text boxes and notes in it."""
        attached: list[etree._Element] = []
        text = "".join(_inline_text(paragraph, attached))
        properties = child(paragraph, "pPr")
        level, number = self._heading_level(properties), self._numbering_of(properties)
        if not text.strip():
            pass  # Only its text boxes and notes are added.
        elif level:
            marker = self._numbering.marker(number) if number is not None else ""
            self._blocks.add_heading(f"{marker} {text}" if marker not in ("", "-") else text, level)
        elif number is not None and (marker := self._numbering.marker(number)):
            self._blocks.add_item(text, marker + " ", self._numbering.depth(number))
        else:
            self._blocks.add_paragraph(text)
        for element in attached:
            self._add_attached(element)

    def _heading_level(self, properties: etree._Element | None) -> int:
        """The heading level of a paragraph with these properties; 0 if it is no heading."""
        outline = val(child(properties, "outlineLvl"))
        if outline.isdigit():
            return int(outline) + 1 if int(outline) < 9 else 0
        return self._styles.heading_level(self._style(properties))

    def _numbering_of(self, properties: etree._Element | None) -> etree._Element | None:
        """The numbering properties of a paragraph with these properties; None if not numbered."""
        number = child(properties, "numPr")
        return number if number is not None else self._styles.numbering(self._style(properties))

    def _style(self, properties: etree._Element | None) -> str:
        """Identifier of the style of a paragraph with these properties."""
        return val(child(properties, "pStyle")) or self._styles.default

    def _add_attached(self, element: etree._Element) -> None:
        """Add a text box, a chart, or the note or comment that a reference points to."""
        name = local_name(element)
        if name == "txbxContent":
            self.add_content(element)
            return
        if name == "chart":
            target = self._targets.get(attribute(element, "id"), NO_RELATIONSHIP).part
            if target in self._archive:
                add_chart(parse_xml(self._archive.read(target)), self._blocks)
            return
        self._blocks.add_paragraph(self._note_text(element))

    def _note_text(self, reference: etree._Element) -> str:
        """The text of the footnote, endnote or comment that a reference points to."""
        kind = local_name(reference).removesuffix("Reference")
        note = self._notes.get(kind, {}).get(attribute(reference, "id"))
        if note is None or note in self._open_notes:
            return ""  # A damaged file may have a note inside itself.
        self._open_notes.add(note)
        text = self._text_on_one_line(note)
        self._open_notes.remove(note)
        if kind == "comment" and text:
            author = attribute(note, "author")
            text = f"[Comment by {author}: {text}]" if author else f"[Comment: {text}]"
        return text

    def _text_on_one_line(self, container: etree._Element) -> str:
        """The text of a note or cell on one line with its notes, without nested tables."""
        texts = []
        for element in container:
            name = local_name(element)
            if name == "p":
                attached: list[etree._Element] = []
                text = "".join(_inline_text(element, attached))
                number = self._numbering_of(child(element, "pPr"))
                if number is not None and text.strip():
                    text = f"{self._numbering.marker(number)} {text}"
                texts += [text, *map(self._attached_text, attached)]
            elif name in ("sdt", "sdtContent", "customXml", "ins", "moveTo"):
                texts.append(self._text_on_one_line(element))
        return " ".join(text for text in texts if text.strip())

    def _attached_text(self, element: etree._Element) -> str:
        """The text of a text box or note on one line; empty for a chart."""
        if local_name(element) == "txbxContent":
            return self._text_on_one_line(element)
        return self._note_text(element)

    def _add_table(self, table: etree._Element) -> None:
        """Add a table, with the tables inside its cells after their rows."""
        rows = [
            list(_unwrapped(row, "tc", (*_CONTROLS, "customXml")))
            for row in _unwrapped(table, "tr", (*_CONTROLS, "customXml", "ins"))
            if child(row, "trPr", "del") is None
        ]
        if sum(len(row) for row in rows) == 1:
            # A single cell is a frame around text, not a table.
            self._blocks.end_group()
            self.add_content(rows[0][0])
            return
        self._blocks.end_group()
        above: dict[int, str] = {}
        for row in rows:
            above = self._row_texts(row, above)
            self._blocks.add_row(
                above.get(column, "") for column in range(max(above, default=-1) + 1)
            )
            for cell in row:
                for nested in _unwrapped(cell, "tbl", _CONTROLS):
                    self._add_table(nested)
        self._blocks.end_group()

    def _row_texts(self, row: list[etree._Element], above: dict[int, str]) -> dict[int, str]:
        """The texts of a row by column; a cell merged with the one above it repeats its text.

        Args:
            row: cells of the row.
            above: texts of the row above, by column.
        """
        texts: dict[int, str] = {}
        column = 0
        for cell in row:
            merge = child(cell, "tcPr", "vMerge")
            is_continued = merge is not None and attribute(merge, "val") != "restart"
            texts[column] = above.get(column, "") if is_continued else self._text_on_one_line(cell)
            span = val(child(cell, "tcPr", "gridSpan"))
            column += int(span) if span.isdigit() and 0 < int(span) < 64 else 1
        return texts


def _unwrapped(
    container: etree._Element, name: str, wrappers: tuple[str, ...]
) -> Iterator[etree._Element]:
    """The elements `name` that are children of a container, or inside `wrappers` in it."""
    for element in container:
        if local_name(element) == name:
            yield element
        elif local_name(element) in wrappers:
            yield from _unwrapped(element, name, wrappers)


def _inline_text(element: etree._Element, attached: list[etree._Element]) -> Iterator[str]:
    """The pieces of text in a paragraph or run.

    Text boxes, charts and references to notes are appended to `attached`.
    """
    if local_name(element) == "r" and _is_hidden(element):
        return
    for part in element:
        name = local_name(part)
        if name == "t":
            yield raise_number(part.text or "") if is_superscript(element) else part.text or ""
        elif name in _CHARACTERS:
            yield _CHARACTERS[name] if attribute(part, "type") != "page" else " "
        elif name in _INLINE_CONTAINERS:
            yield from _inline_text(part, attached)
        elif name == "sym":
            yield symbol_character(attribute(part, "font"), int(attribute(part, "char") or "0", 16))
        elif name == "fldChar":
            yield _field_value(part)
        elif name in ("oMath", "oMathPara"):
            yield f" {equation_text(part)} "
        elif name == "AlternateContent":
            yield from _first_rendering(part, attached)
        elif name in ("drawing", "pict", "object"):
            attached += _text_boxes(part)
            attached += descendants(part, "chart")
        elif name in ("footnoteReference", "endnoteReference", "commentReference"):
            attached.append(part)


def _is_hidden(run: etree._Element) -> bool:
    """Whether a run is formatted as hidden text."""
    return _is_on(child(run, "rPr", "vanish"))


def _is_on(switch: etree._Element | None) -> bool:
    """Whether an element that turns something on is there and does not say that it is off."""
    return switch is not None and val(switch) not in _OFF


def _field_value(field: etree._Element) -> str:
    """The state of a form's check box or the chosen entry of its list; empty for other fields."""
    form = child(field, "ffData")
    if (box := child(form, "checkBox")) is not None:
        checked = child(box, "checked")
        return "☒" if _is_on(checked if checked is not None else child(box, "default")) else "☐"
    if (choices := child(form, "ddList")) is not None:
        entries = [val(entry) for entry in children(choices, "listEntry")]
        chosen = val(child(choices, "result")) or val(child(choices, "default")) or "0"
        return entries[int(chosen)] if chosen.isdigit() and int(chosen) < len(entries) else ""
    return ""


def _first_rendering(element: etree._Element, attached: list[etree._Element]) -> Iterator[str]:
    """The first rendering that is not empty, among alternatives for the same content."""
    for rendering in element:
        inner: list[etree._Element] = []
        texts = list(_inline_text(rendering, inner))
        if inner or any(text.strip() for text in texts):
            attached += inner
            yield from texts
            return


def _text_boxes(drawing: etree._Element) -> Iterator[etree._Element]:
    """The outermost text boxes of a drawing, without their renderings for older programs."""
    fallback = {box for part in descendants(drawing, "Fallback")
                for box in descendants(part, "txbxContent")}  # fmt: skip
    outer: set[etree._Element] = set()
    for box in descendants(drawing, "txbxContent"):
        if box not in fallback and not any(above in outer for above in box.iterancestors()):
            outer.add(box)
            yield box
