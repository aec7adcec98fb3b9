"""OpenDocument texts, presentations and sheets, as LibreOffice writes them."""

from collections.abc import Iterator

from lxml import etree

from moli.parsing.archive import DECRYPT, Archive
from moli.parsing.blocks import Blocks
from moli.parsing.limits import Limits
from moli.parsing.office.markup import attribute, children, descendants, local, parse_xml
from moli.records.errors import DocumentError

_MAX_REPEAT = 64
_SILENT = {"tracked-changes", "sequence-decls", "variable-decls", "forms", "settings",
           "annotation-end", "table-of-content-source", "shapes-template"}  # fmt: skip


def read(data: bytes, blocks: Blocks, limits: Limits) -> None:
    """Add the document in `data` to `blocks`."""
    archive = Archive(data, limits)
    if "META-INF/manifest.xml" in archive and b"encryption-data" in archive.read(
        "META-INF/manifest.xml"
    ):
        raise DocumentError("encrypted", "it is protected by a password", fix=DECRYPT)
    _metadata(archive, blocks)
    root = parse_xml(archive.read("content.xml"))
    walker = _Walker(root, blocks)
    for body in descendants(root, "body"):
        walker.walk(body)


def _metadata(archive: Archive, blocks: Blocks) -> None:
    if "meta.xml" not in archive:
        return
    names = {"creator": "author", "initial-creator": "author", "creation-date": "created",
             "date": "modified", "subject": "subject", "language": "language"}  # fmt: skip
    for element in parse_xml(archive.read("meta.xml")).iter():
        name, text = local(element), (element.text or "").strip()
        if name == "title":
            blocks.title = text
        elif name in names and text:
            blocks.metadata.setdefault(names[name], text)


class _Walker:
    def __init__(self, root: etree._Element, blocks: Blocks) -> None:
        self._blocks = blocks
        # A list is numbered if its style says so on its first level.
        self._numbered = {
            attribute(style, "name")
            for style in descendants(root, "list-style")
            if len(style) and local(style[0]) == "list-level-style-number"
        }
        self._depth = 0

    def walk(self, container: etree._Element) -> None:
        """Add everything in a body, section, page, frame or cell."""
        for element in container:
            name = local(element)
            if name in _SILENT:
                continue
            if name == "h":
                level = attribute(element, "outline-level")
                self._blocks.heading(self._inline(element), int(level) if level.isdigit() else 1)
            elif name == "p":
                self._blocks.paragraph(self._inline(element))
                self._framed(element)
            elif name == "list":
                self._list(element)
            elif name == "table":
                self._table(element)
            elif name == "page":
                self._blocks.page()
                self._page(element)
            elif name == "custom-shape" or len(element):
                self.walk(element)

    def _page(self, page: etree._Element) -> None:
        """A slide: its title first, its notes last."""
        frames = [element for element in page if local(element) != "notes"]
        titles = [frame for frame in frames if attribute(frame, "class") == "title"]
        for frame in titles:
            text = " ".join(self._inline(line) for line in descendants(frame, "p"))
            self._blocks.heading(text, 1)
        for frame in frames:
            if frame not in titles:
                self._blocks.end()
                self.walk_one(frame)
        for notes in children(page, "notes"):
            self.walk(notes)

    def walk_one(self, element: etree._Element) -> None:
        """Add a single shape, which may be a frame around text or a group."""
        if attribute(element, "class") not in ("page-number", "date-time", "footer"):
            self.walk(element)

    def _framed(self, paragraph: etree._Element) -> None:
        """Text boxes anchored in a paragraph."""
        for box in descendants(paragraph, "text-box"):
            if not any(local(above) == "text-box" for above in box.iterancestors()):
                self.walk(box)

    def _list(self, element: etree._Element) -> None:
        if not self._depth:
            self._blocks.end()
        numbered = attribute(element, "style-name") in self._numbered
        start = attribute(element, "start-value")
        number = int(start) if start.isdigit() else 1
        self._depth += 1
        for item in element:
            marker = f"{number}. " if numbered and local(item) == "list-item" else "- "
            for part in item:
                if local(part) == "list":
                    self._list(part)
                elif local(part) in ("p", "h"):
                    self._blocks.item(self._inline(part), marker, self._depth - 1)
                    marker = "  "
                    self._framed(part)
            number += local(item) == "list-item"
        self._depth -= 1
        if not self._depth:
            self._blocks.end()

    def _table(self, table: etree._Element) -> None:
        in_sheet = local(table.getparent()) == "spreadsheet"
        if in_sheet:
            self._blocks.page()
            name = attribute(table, "name")
            if name.lower().rstrip("0123456789 ") != "sheet":
                self._blocks.heading(name, 1)
        self._blocks.end()
        for row in descendants(table, "table-row"):
            if any(local(above) == "table" and above is not table and above in
                   table.iterdescendants() for above in row.iterancestors()):  # fmt: skip
                continue  # A row of a table inside a cell, which is in the cell's text.
            cells = list(self._cells(row))
            self._blocks.row(cells) if any(cells) else self._blocks.end()
        for shapes in children(table, "shapes"):
            self.walk(shapes)
        self._blocks.end()

    def _cells(self, row: etree._Element) -> Iterator[str]:
        for cell in row:
            name = local(cell)
            if name in ("table-cell", "covered-table-cell"):
                lines = (self._inline(line) for line in cell.iter("{*}p", "{*}h"))
                repeated = attribute(cell, "number-columns-repeated")
                count = int(repeated) if repeated.isdigit() else 1
                yield from [" ".join(lines)] * min(count, _MAX_REPEAT)

    def _inline(self, element: etree._Element) -> str:
        """The text of a paragraph, without that of frames and notes inside it."""
        pieces = [element.text or ""]
        for part in element:
            name = local(part)
            if name == "s":
                count = attribute(part, "c")
                pieces.append(" " * (int(count) if count.isdigit() else 1))
            elif name == "tab":
                pieces.append(" ")
            elif name == "line-break":
                pieces.append("\n")
            elif name == "note":
                pieces.append("")
            elif name not in ("frame", "annotation", "custom-shape"):
                pieces.append(self._inline(part))
            pieces.append(part.tail or "")
        return "".join(pieces)
