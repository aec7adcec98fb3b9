"""OpenDocument texts, presentations and spreadsheets, as LibreOffice writes them."""

from collections.abc import Iterator

from lxml import etree

from moli.parsing.archive import DECRYPT, Archive
from moli.parsing.blocks import Blocks
from moli.parsing.limits import Limits
from moli.parsing.office.markup import (
    attribute,
    child,
    children,
    descendants,
    local_name,
    parse_xml,
)
from moli.parsing.pages.running import is_page_number
from moli.parsing.raised import raise_number
from moli.records.errors import DocumentError

_MAX_REPEAT = 64
# Attributes that hold the value of a cell, the most readable first.
_VALUES = ("string-value", "date-value", "time-value", "boolean-value", "value")
_IGNORED = {"tracked-changes", "sequence-decls", "variable-decls", "forms", "settings",
           "annotation-end", "table-of-content-source", "shapes-template"}  # fmt: skip


def read(data: bytes, blocks: Blocks, limits: Limits) -> None:
    """Add the document in `data` to `blocks`."""
    archive = Archive(data, limits)
    if "META-INF/manifest.xml" in archive and b"encryption-data" in archive.read(
        "META-INF/manifest.xml"
    ):
        raise DocumentError("encrypted", "it is protected by a password", fix=DECRYPT)
    _read_metadata(archive, blocks)
    root = parse_xml(archive.read("content.xml"))
    common = parse_xml(archive.read("styles.xml")) if "styles.xml" in archive else None
    reader = _ContentReader(root, _TextStyles(common, root), blocks)
    pages = _page_styles(common, root)
    is_workbook = next(root.iter("{*}spreadsheet"), None) is not None
    if not is_workbook:
        reader.add_running_text(pages, "header")
    for body in descendants(root, "body"):
        reader.add_content(body)
    for kind in ("header", "footer") if is_workbook else ("footer",):
        reader.add_running_text(pages, kind)
    if next(descendants(root, "deletion"), None) is not None:
        blocks.warn("its tracked changes are read as if they were accepted")


def _page_styles(common: etree._Element | None, root: etree._Element) -> list[etree._Element]:
    """The styles of the pages, which hold headers and footers; none for a presentation.

    A workbook has styles that no sheet uses, with headers that nobody has written.
    """
    body = next(descendants(root, "body"), root)
    if common is None or child(body, "presentation") is not None:
        return []
    pages = list(descendants(common, "master-page"))
    if child(body, "spreadsheet") is None:
        return pages
    used = {attribute(style, "master-page-name") for style in descendants(root, "style")}
    return [page for page in pages if attribute(page, "name") in used]


def _read_metadata(archive: Archive, blocks: Blocks) -> None:
    """Take over the title and properties that the document states about itself."""
    if "meta.xml" not in archive:
        return
    names = {"creator": "author", "initial-creator": "author", "creation-date": "created",
             "date": "modified", "subject": "subject", "language": "language"}  # fmt: skip
    for element in parse_xml(archive.read("meta.xml")).iter():
        name, text = local_name(element), (element.text or "").strip()
        if name == "title":
            blocks.title = text
        elif name in names and text:
            blocks.metadata.setdefault(names[name], text)


class _TextStyles:
    """The formats of characters that the styles of paragraphs and of words in them define.

    Args:
        parts: the roots of the parts that define styles; later ones replace earlier ones.
    """

    def __init__(self, *parts: etree._Element | None) -> None:
        self._styles = {
            (attribute(style, "family"), attribute(style, "name")): style
            for part in parts if part is not None
            for style in descendants(part, "style")
        }  # fmt: skip

    def is_raised(self, element: etree._Element) -> bool:
        """Whether the characters of an element are in superscript."""
        position = self._property(element, "text-position").partition(" ")[0]
        return position == "super" or (position.endswith("%") and position[0] not in "-0")

    def is_hidden(self, element: etree._Element) -> bool:
        """Whether the characters of an element are formatted as hidden."""
        return self._property(element, "display") == "none"

    def _property(self, element: etree._Element, name: str) -> str:
        """A text property of an element's style, or of the nearest one that it is based on."""
        family = "text" if local_name(element) == "span" else "paragraph"
        style_name, seen = attribute(element, "style-name"), set[str]()
        while style_name not in seen:
            seen.add(style_name)
            style = self._styles.get((family, style_name))
            properties = child(style, "text-properties")
            if properties is not None and (value := attribute(properties, name)):
                return value
            style_name = attribute(style, "parent-style-name") if style is not None else ""
        return ""


class _ContentReader:
    """Adds the content of a document to `blocks`."""

    def __init__(self, root: etree._Element, styles: _TextStyles, blocks: Blocks) -> None:
        self._blocks, self._styles = blocks, styles
        # A list is numbered if its style says so on its first level.
        self._numbered_styles = {
            attribute(style, "name")
            for style in descendants(root, "list-style")
            if len(style) and local_name(style[0]) == "list-level-style-number"
        }
        self._depth = 0

    def add_running_text(self, pages: list[etree._Element], kind: str) -> None:
        """Add each header or footer of the pages once, without those that only number pages."""
        seen: set[str] = set()
        for name in (kind, f"{kind}-first", f"{kind}-left"):
            for element in (each for page in pages for each in descendants(page, name)):
                if attribute(element, "display") == "false":
                    continue
                lines = [self._inline_text(line) for line in element.iter("{*}p", "{*}h")]
                text = " ".join(lines).strip()
                if text and text not in seen and not is_page_number(text):
                    self.add_content(element)
                    seen.add(text)

    def add_content(self, container: etree._Element) -> None:
        """Add everything in a body, section, page, frame or cell."""
        for element in container:
            name = local_name(element)
            if name in _IGNORED:
                continue
            if name == "h":
                level = attribute(element, "outline-level")
                self._blocks.add_heading(
                    self._inline_text(element), int(level) if level.isdigit() else 1
                )
                self._add_notes(element)
            elif name == "p":
                self._blocks.add_paragraph(self._inline_text(element))
                self._add_text_boxes(element)
                self._add_notes(element)
            elif name == "list":
                self._add_list(element)
            elif name == "table":
                self._add_table(element)
            elif name == "page":
                self._blocks.begin_page()
                self._add_slide(element)
            elif name == "custom-shape" or len(element):
                self.add_content(element)

    def _add_slide(self, page: etree._Element) -> None:
        """Add a slide, with its title first and its notes last."""
        frames = [element for element in page if local_name(element) != "notes"]
        titles = [frame for frame in frames if attribute(frame, "class") == "title"]
        for frame in titles:
            text = " ".join(self._inline_text(line) for line in descendants(frame, "p"))
            self._blocks.add_heading(text, 1)
        for frame in frames:
            if frame not in titles:
                self._blocks.end_group()
                self._add_shape(frame)
        for notes in children(page, "notes"):
            self.add_content(notes)

    def _add_shape(self, element: etree._Element) -> None:
        """Add a shape, which may be a text frame or a group, unless it repeats on every slide."""
        if attribute(element, "class") not in ("page-number", "date-time", "footer"):
            self.add_content(element)

    def _add_text_boxes(self, paragraph: etree._Element) -> None:
        """Add the text boxes anchored in a paragraph."""
        for box in descendants(paragraph, "text-box"):
            if not any(local_name(above) == "text-box" for above in box.iterancestors()):
                self.add_content(box)

    def _add_notes(self, paragraph: etree._Element) -> None:
        """Add the footnotes, endnotes and comments of a paragraph after it."""
        for text in self._note_texts(paragraph):
            self._blocks.add_paragraph(text)

    def _note_texts(self, element: etree._Element) -> Iterator[str]:
        """The texts of the footnotes, endnotes and comments in an element, each on one line."""
        for note in element.iter("{*}note-body", "{*}annotation"):
            lines = (self._inline_text(line) for line in note.iter("{*}p", "{*}h"))
            text = " ".join(line for line in lines if line.strip())
            if local_name(note) == "annotation" and text:
                author = next(descendants(note, "creator"), None)
                name = (author.text or "") if author is not None else ""
                text = f"[Comment by {name}: {text}]" if name else f"[Comment: {text}]"
            if text:
                yield text

    def _add_list(self, element: etree._Element) -> None:
        """Add a list with the lists inside it."""
        if not self._depth:
            self._blocks.end_group()
        is_numbered = attribute(element, "style-name") in self._numbered_styles
        start = attribute(element, "start-value")
        number = int(start) if start.isdigit() else 1
        self._depth += 1
        for item in element:
            marker = f"{number}. " if is_numbered and local_name(item) == "list-item" else "- "
            for part in item:
                if local_name(part) == "list":
                    self._add_list(part)
                elif local_name(part) in ("p", "h"):
                    self._blocks.add_item(self._inline_text(part), marker, self._depth - 1)
                    marker = "  "
                    self._add_text_boxes(part)
                    for text in self._note_texts(part):
                        self._blocks.add_item(text, marker, self._depth - 1)
            number += local_name(item) == "list-item"
        self._depth -= 1
        if not self._depth:
            self._blocks.end_group()

    def _add_table(self, table: etree._Element) -> None:
        """Add a table; a sheet of a spreadsheet is a page with its name as heading."""
        in_sheet = local_name(table.getparent()) == "spreadsheet"
        if in_sheet:
            self._blocks.begin_page()
            name = attribute(table, "name")
            if name.lower().rstrip("0123456789 ") != "sheet":
                self._blocks.add_heading(name, 1)
        self._blocks.end_group()
        spans: dict[int, tuple[int, str]] = {}
        for row in descendants(table, "table-row"):
            if any(local_name(above) == "table" and above is not table and above in
                   table.iterdescendants() for above in row.iterancestors()):  # fmt: skip
                continue  # A row of a table inside a cell, which is in the cell's text.
            cells = list(self._cell_texts(row, spans))
            self._blocks.add_row(cells) if any(cells) else self._blocks.end_group()
        for shapes in children(table, "shapes"):
            self.add_content(shapes)
        self._blocks.end_group()

    def _cell_texts(self, row: etree._Element, spans: dict[int, tuple[int, str]]) -> Iterator[str]:
        """The texts of the cells of a row; one that is repeated, or spans rows, in each place.

        Args:
            spans: for cells from rows above, the rows they still span and their text, by column;
                updated.
        """
        column = 0
        for cell in row:
            if local_name(cell) not in ("table-cell", "covered-table-cell"):
                continue
            for _ in range(min(_count(cell, "number-columns-repeated"), _MAX_REPEAT)):
                left, text = spans.pop(column, (0, ""))
                if not left or local_name(cell) == "table-cell":
                    left, text = _count(cell, "number-rows-spanned"), self._cell_text(cell)
                if left > 1:
                    spans[column] = (left - 1, text)
                yield text
                column += 1

    def _cell_text(self, cell: etree._Element) -> str:
        """The text of a cell as it is shown, then its notes; its value if no text is stored."""
        lines = (
            self._inline_text(line) for line in cell.iter("{*}p", "{*}h") if not _is_in_note(line)
        )
        text = " ".join(line for line in lines if line.strip())
        values = (attribute(cell, name) for name in _VALUES)
        return " ".join([text or next(filter(None, values), ""), *self._note_texts(cell)]).strip()

    def _inline_text(self, element: etree._Element) -> str:
        """The text of a paragraph or span, without frames, comments and notes inside it."""
        if self._styles.is_hidden(element):
            return ""
        pieces = [element.text or ""]
        for part in element:
            name = local_name(part)
            if name == "s":
                count = attribute(part, "c")
                pieces.append(" " * (int(count) if count.isdigit() else 1))
            elif name == "tab":
                pieces.append(" ")
            elif name == "line-break":
                pieces.append("\n")
            elif name not in ("note", "sheet-name", "frame", "annotation", "custom-shape"):
                pieces.append(self._inline_text(part))
            pieces.append(part.tail or "")
        text = "".join(pieces)
        return raise_number(text) if self._styles.is_raised(element) else text


def _count(cell: etree._Element, name: str) -> int:
    """The number of rows or columns that an attribute of a cell states; 1 if it states none."""
    stated = attribute(cell, name)
    return int(stated) if stated.isdigit() else 1


def _is_in_note(element: etree._Element) -> bool:
    """Whether an element is in a note or comment."""
    return any(local_name(above) in ("note", "annotation") for above in element.iterancestors())
