"""HTML: the text a reader sees, with headings, lists and tables. Nothing is ever fetched."""

import re
from collections.abc import Callable, Iterator

from selectolax.lexbor import LexborHTMLParser, LexborNode

from moli.parsing.blocks import Blocks
from moli.parsing.encodings import decode
from moli.parsing.limits import Limits

# Never prose: code for machines, controls, menus.
_DROPPED = {"script", "style", "template", "noscript", "svg", "nav", "iframe", "object", "canvas",
            "audio", "video", "select", "datalist", "head", "annotation", "annotation-xml", "rp",
            "dialog", "-comment"}  # fmt: skip
_BLOCKS = {"address", "article", "aside", "blockquote", "body", "center", "dd", "details", "div",
           "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "header", "hgroup",
           "hr", "html", "legend", "main", "ol", "p", "section", "summary", "ul", "menu",
           "caption", "td", "th", "tr", "tbody", "thead", "tfoot", "li", "table",
           "pre", "optgroup"}  # fmt: skip
_HEADINGS = {f"h{level}": level for level in range(1, 7)}
_MENU_ROLES = {"navigation", "menu", "menubar", "toolbar", "tablist", "search"}
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_MAX_SPAN = 100
_SPACES = re.compile(r"[ \t\n\r\f]+")
_CHARSET = re.compile(rb"<meta[^>]+charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)


def read(data: bytes, blocks: Blocks, _limits: Limits) -> None:
    """Add the page in `data` to `blocks`."""
    declared = _CHARSET.search(data[:4096])
    read_html(decode(data, declared[1].decode() if declared else "", blocks), blocks)


def read_html(html: str, blocks: Blocks) -> None:
    """Add a page given as text; its title becomes the document's if there is none yet."""
    tree = LexborHTMLParser(html)
    title = tree.css_first("head > title")
    if title is not None and not blocks.title:
        blocks.title = title.text()
    for name, key in (("author", "author"), ("description", "description"), ("date", "date")):
        meta = tree.css_first(f'head > meta[name="{name}" i]')
        if meta is not None and key not in blocks.metadata:
            blocks.metadata[key] = meta.attributes.get("content") or ""
    if tree.body is not None:
        _Walker(blocks).walk(tree.body)
    blocks.end()


class _List:
    """An open list: how to mark its next item."""

    def __init__(self, node: LexborNode) -> None:
        start = node.attributes.get("start") or "1"
        self.ordered = node.tag == "ol"
        self.next = int(start) if start.lstrip("-").isdigit() else 1

    def marker(self) -> str:
        self.next += 1
        return f"{self.next - 1}. " if self.ordered else "- "


class _Walker:
    """Turns a tree into blocks. Text gathers until a block begins or ends, then is written.

    The walk keeps no call stack, so that no depth of nesting can exhaust it.
    """

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._text: list[str] = []
        self._lists: list[_List] = []
        self._marker = ""
        self._items = 0
        self._heading = 0
        self._pre = 0

    def walk(self, top: LexborNode) -> None:
        """Add everything below `top`."""
        for node, entering in _events(top, self._skip):
            tag = node.tag or ""
            if tag == "-text":
                self._write(node.text_content or "")
            elif not entering:
                self._leave(tag)
            elif tag == "table" and not _is_layout(node):
                self._table(node)
            else:
                self._enter(node, tag)
        self._flush()

    def _skip(self, node: LexborNode) -> bool:
        """Whether the walk goes past `node` without entering it."""
        return _is_dropped(node) or (node.tag == "table" and not _is_layout(node))

    def _write(self, text: str) -> None:
        self._text.append(text if self._pre else _SPACES.sub(" ", text))

    def _enter(self, node: LexborNode, tag: str) -> None:
        if tag in _HEADINGS:
            self._flush()
            self._heading = _HEADINGS[tag]
        elif tag == "br":
            self._text.append("\n")
        elif tag == "math" and node.attributes.get("alttext"):
            self._write(f" {node.attributes['alttext']} ")
        elif tag == "input" and node.attributes.get("type") == "checkbox":
            self._text.append("☒ " if "checked" in node.attributes else "☐ ")
        elif tag in _BLOCKS:
            self._flush()
            if tag in ("ul", "ol", "menu"):
                if not self._lists:
                    self._blocks.end()
                self._lists.append(_List(node))
            elif tag == "li":
                self._items += 1
                self._marker = self._lists[-1].marker() if self._lists else "- "
            elif tag == "pre":
                self._pre += 1

    def _leave(self, tag: str) -> None:
        if tag in _HEADINGS:
            self._flush()
            self._heading = 0
        elif tag in _BLOCKS:
            self._flush()
            if tag in ("ul", "ol", "menu") and self._lists:
                self._lists.pop()
                if not self._lists:
                    self._blocks.end()
            elif tag == "li":
                self._items -= 1
                self._marker = ""
            elif tag == "pre":
                self._pre -= 1

    def _flush(self) -> None:
        text = "".join(self._text)
        self._text.clear()
        if not text.strip():
            return
        if self._heading:
            self._blocks.heading(text, self._heading)
        elif self._pre:
            self._blocks.verbatim(text)
        elif self._items > 0:
            depth = max(0, len(self._lists) - 1)
            if self._marker:
                self._blocks.item(text, self._marker, depth)
            else:
                self._blocks.item(text, "", depth + 1)
            self._marker = ""
        else:
            self._blocks.paragraph(text)

    def _table(self, table: LexborNode) -> None:
        self._flush()
        self._blocks.end()
        spans: dict[int, tuple[int, str]] = {}
        for node in _below(table, ("caption", "tr")):
            if node.tag == "caption":
                self._blocks.paragraph(_flat(node))
            else:
                cells = _row(node, spans)
                self._blocks.row(
                    cells.get(column, "") for column in range(max(cells, default=-1) + 1)
                )
        self._blocks.end()


def _row(row: LexborNode, spans: dict[int, tuple[int, str]]) -> dict[int, str]:
    """Column -> text; a cell that spans rows is repeated, so that each can stand alone.

    `spans` holds how many more rows such cells cover, and their text, by column.
    """
    cells = {column: text for column, (_, text) in spans.items()}
    for column, (left, text) in list(spans.items()):
        spans[column] = (left - 1, text)
        if left <= 1:
            del spans[column]
    column = 0
    for cell in row.iter():
        if cell.tag not in ("td", "th"):
            continue
        while column in cells:
            column += 1
        cells[column] = _flat(cell)
        if (rows := _span(cell, "rowspan")) > 1:
            spans[column] = (rows - 1, cells[column])
        column += _span(cell, "colspan")
    return cells


def _span(cell: LexborNode, name: str) -> int:
    value = cell.attributes.get(name) or ""
    return min(int(value), _MAX_SPAN) if value.isdigit() and int(value) else 1


def _never(_node: LexborNode) -> bool:
    return False


def _events(
    top: LexborNode, skip: Callable[[LexborNode], bool] = _never
) -> Iterator[tuple[LexborNode, bool]]:
    """Every node below `top` on entering and on leaving it; text and skipped ones appear once.

    A skipped node that is dropped does not appear at all.
    """
    node = top.child
    depth = 1
    while node is not None and depth:
        dropped = _is_dropped(node)
        if not dropped:
            yield node, True
        below = None if dropped or skip(node) else node.child
        if below is not None:
            node, depth = below, depth + 1
            continue
        if not dropped and node.tag != "-text" and not skip(node):
            yield node, False
        while node is not None and node.next is None:
            node, depth = node.parent, depth - 1
            if depth == 0 or node is None:
                return
            yield node, False
        node = node.next if node is not None else None


def _below(top: LexborNode, tags: tuple[str, ...]) -> Iterator[LexborNode]:
    """The descendants with one of `tags`, not looking inside those found."""
    for node, entering in _events(top, lambda node: node.tag in tags):
        if entering and node.tag in tags:
            yield node


def _is_dropped(node: LexborNode) -> bool:
    tag = node.tag or ""
    if tag == "-text":
        return False
    if tag in _DROPPED:
        return True
    attributes = node.attributes
    if not attributes:
        return False
    return (
        "hidden" in attributes
        or (attributes.get("role") or "") in _MENU_ROLES
        or bool(_HIDDEN.search(attributes.get("style") or ""))
    )


def _is_layout(table: LexborNode) -> bool:
    """Whether a table only arranges a page: it says so, or holds another table or headings."""
    if table.attributes.get("role") in ("presentation", "none"):
        return True
    rows = 0
    for node, entering in _events(table):
        if entering and node.tag == "table":
            return True
        rows += entering and node.tag in ("td", "th")
    return rows == 1


def _flat(top: LexborNode) -> str:
    """The text below `top` on one line."""
    pieces: list[str] = []
    for node, entering in _events(top):
        tag = node.tag or ""
        if tag == "-text":
            pieces.append(node.text_content or "")
        elif tag in _BLOCKS or tag in _HEADINGS or tag == "br":
            pieces.append(" ")
        elif entering and tag == "math" and node.attributes.get("alttext"):
            pieces.append(f" {node.attributes['alttext']} ")
    return _SPACES.sub(" ", "".join(pieces)).strip()
