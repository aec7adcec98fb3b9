"""HTML: the visible text with headings, lists and tables; nothing is ever fetched."""

import re
from collections.abc import Callable, Iterator

from selectolax.lexbor import LexborHTMLParser, LexborNode

from moli.parsing.blocks import Blocks
from moli.parsing.encodings import decode
from moli.parsing.limits import Limits
from moli.parsing.raised import raise_number

# Elements that hold no prose: code, controls, menus.
_IGNORED_TAGS = {
    "script", "style", "template", "noscript", "svg", "nav", "iframe", "object", "canvas",
    "audio", "video", "select", "datalist", "head", "annotation", "annotation-xml", "rp",
    "dialog", "rt", "rtc", "-comment",
}  # fmt: skip
_BLOCK_TAGS = {
    "address", "article", "aside", "blockquote", "body", "center", "dd", "details", "div",
    "dl", "dt", "fieldset", "figcaption", "figure", "footer", "form", "header", "hgroup",
    "hr", "html", "legend", "main", "ol", "p", "section", "summary", "ul", "menu",
    "caption", "td", "th", "tr", "tbody", "thead", "tfoot", "li", "table",
    "pre", "optgroup",
}  # fmt: skip
_HEADING_LEVELS = {f"h{level}": level for level in range(1, 7)}
_MENU_ROLES = {"navigation", "menu", "menubar", "toolbar", "tablist", "search"}
_HIDDEN = re.compile(r"display\s*:\s*none|visibility\s*:\s*hidden", re.IGNORECASE)
_MAX_SPAN = 100
# What is struck out stands between these, as in Markdown, so that it does not run into the rest.
_STRUCK = {"del": "~~", "s": "~~", "strike": "~~"}
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
        _PageWalker(blocks).walk(tree.body)
    blocks.end_group()


class _OpenList:
    """A list whose items are being read, with the number of its next item."""

    def __init__(self, node: LexborNode) -> None:
        start = node.attributes.get("start") or "1"
        self.ordered = node.tag == "ol"
        self.next = int(start) if start.lstrip("-").isdigit() else 1

    def next_marker(self) -> str:
        """The marker of the next item, such as `3. ` or `- `."""
        self.next += 1
        return f"{self.next - 1}. " if self.ordered else "- "


class _PageWalker:
    """Adds the elements of a page to `blocks`; text is gathered until a block begins or ends.

    Nothing here is recursive, so that no depth of nesting can exhaust the call stack.
    """

    def __init__(self, blocks: Blocks) -> None:
        self._blocks = blocks
        self._text: list[str] = []
        self._lists: list[_OpenList] = []
        self._marker = ""
        self._item_depth = 0
        self._heading_level = 0
        self._preformatted_depth = 0

    def walk(self, top: LexborNode) -> None:
        """Add everything below `top`."""
        for node, entering in _walk(top, self._skips_children):
            tag = node.tag or ""
            if tag == "-text":
                self._add_text(_inline_text(node))
            elif tag in _STRUCK:
                self._text.append(_STRUCK[tag])
            elif not entering:
                self._leave_element(tag)
            elif tag == "table" and not _is_layout_table(node):
                self._add_table(node)
            else:
                self._enter_element(node, tag)
        self._flush_text()

    def _skips_children(self, node: LexborNode) -> bool:
        """Whether a node is ignored, or a table that is added as a whole."""
        return _is_ignored(node) or (node.tag == "table" and not _is_layout_table(node))

    def _add_text(self, text: str) -> None:
        """Gather text of the current block."""
        self._text.append(text if self._preformatted_depth else _SPACES.sub(" ", text))

    def _enter_element(self, node: LexborNode, tag: str) -> None:
        """Handle the start of an element."""
        if tag in _HEADING_LEVELS:
            self._flush_text()
            self._heading_level = _HEADING_LEVELS[tag]
        elif tag == "br":
            self._text.append("\n")
        elif tag == "math" and node.attributes.get("alttext"):
            self._add_text(f" {node.attributes['alttext']} ")
        elif tag == "input" and node.attributes.get("type") == "checkbox":
            self._text.append("☒ " if "checked" in node.attributes else "☐ ")
        elif tag in _BLOCK_TAGS:
            self._flush_text()
            if tag in ("ul", "ol", "menu"):
                if not self._lists:
                    self._blocks.end_group()
                self._lists.append(_OpenList(node))
            elif tag == "li":
                self._item_depth += 1
                self._marker = self._lists[-1].next_marker() if self._lists else "- "
            elif tag == "pre":
                self._preformatted_depth += 1

    def _leave_element(self, tag: str) -> None:
        """Handle the end of an element."""
        if tag in _HEADING_LEVELS:
            self._flush_text()
            self._heading_level = 0
        elif tag in _BLOCK_TAGS:
            self._flush_text()
            if tag in ("ul", "ol", "menu") and self._lists:
                self._lists.pop()
                if not self._lists:
                    self._blocks.end_group()
            elif tag == "li":
                self._item_depth -= 1
                self._marker = ""
            elif tag == "pre":
                self._preformatted_depth -= 1

    def _flush_text(self) -> None:
        """Add the gathered text as a block of the current kind."""
        text = "".join(self._text)
        self._text.clear()
        if not text.strip():
            return
        if self._heading_level:
            self._blocks.add_heading(text, self._heading_level)
        elif self._preformatted_depth:
            self._blocks.add_preformatted(text)
        elif self._item_depth > 0:
            depth = max(0, len(self._lists) - 1)
            if self._marker:
                self._blocks.add_item(text, self._marker, depth)
            else:
                self._blocks.add_item(text, "", depth + 1)
            self._marker = ""
        else:
            self._blocks.add_paragraph(text)

    def _add_table(self, table: LexborNode) -> None:
        """Add a data table with its caption."""
        self._flush_text()
        self._blocks.end_group()
        spans: dict[int, tuple[int, str]] = {}
        for node in _outermost(table, ("caption", "tr")):
            if node.tag == "caption":
                self._blocks.add_paragraph(_text_on_one_line(node))
            else:
                cells = _row_texts(node, spans)
                self._blocks.add_row(
                    cells.get(column, "") for column in range(max(cells, default=-1) + 1)
                )
        self._blocks.end_group()


def _row_texts(row: LexborNode, spans: dict[int, tuple[int, str]]) -> dict[int, str]:
    """The texts of a row by column; a cell that spans rows repeats its text in all of them.

    Args:
        row: the `tr` element.
        spans: for cells from rows above, the rows they still span and their text, by column;
            updated.
    """
    cells = {column: text for column, (_, text) in spans.items()}
    for column, (remaining, text) in list(spans.items()):
        spans[column] = (remaining - 1, text)
        if remaining <= 1:
            del spans[column]
    column = 0
    for cell in row.iter():
        if cell.tag not in ("td", "th"):
            continue
        while column in cells:
            column += 1
        cells[column] = _text_on_one_line(cell)
        if (rows := _span(cell, "rowspan")) > 1:
            spans[column] = (rows - 1, cells[column])
        column += _span(cell, "colspan")
    return cells


def _inline_text(node: LexborNode) -> str:
    """The characters of a text node; a number that is raised is in superscript."""
    text = node.text_content or ""
    parent = node.parent
    above = parent.parent if parent is not None else None
    is_raised = any(each is not None and _is_raised(each) for each in (parent, above))
    return raise_number(text) if is_raised else text


def _is_raised(node: LexborNode) -> bool:
    """Whether an element raises its text, or refers to a note, as books and pages mark it."""
    if node.tag != "a":
        return node.tag == "sup"
    attributes = node.attributes
    kinds = (attributes.get("epub:type") or "", attributes.get("role") or "")
    return any(kind.endswith("noteref") for kind in " ".join(kinds).split())


def _span(cell: LexborNode, name: str) -> int:
    """Number of rows or columns that a cell spans, from its attribute `name`."""
    value = cell.attributes.get(name) or ""
    return min(int(value), _MAX_SPAN) if value.isdigit() and int(value) else 1


def _walk(
    top: LexborNode, skips_children: Callable[[LexborNode], bool] = lambda _node: False
) -> Iterator[tuple[LexborNode, bool]]:
    """Depth-first walk: nodes below `top`, with True on entering and False on leaving them.

    Text, and nodes whose children are skipped, appear once; ignored nodes do not appear.
    """
    node = top.child
    depth = 1
    while node is not None and depth:
        ignored = _is_ignored(node)
        if not ignored:
            yield node, True
        below = None if ignored or skips_children(node) else node.child
        if below is not None:
            node, depth = below, depth + 1
            continue
        if not ignored and node.tag != "-text" and not skips_children(node):
            yield node, False
        while node is not None and node.next is None:
            node, depth = node.parent, depth - 1
            if depth == 0 or node is None:
                return
            yield node, False
        node = node.next if node is not None else None


def _outermost(top: LexborNode, tags: tuple[str, ...]) -> Iterator[LexborNode]:
    """The descendants with one of `tags` that are not inside another such descendant."""
    for node, entering in _walk(top, lambda node: node.tag in tags):
        if entering and node.tag in tags:
            yield node


def _is_ignored(node: LexborNode) -> bool:
    """Whether an element is hidden or holds no prose."""
    tag = node.tag or ""
    if tag == "-text":
        return False
    if tag in _IGNORED_TAGS:
        return True
    attributes = node.attributes
    if not attributes:
        return False
    return (
        "hidden" in attributes
        or (attributes.get("role") or "") in _MENU_ROLES
        or bool(_HIDDEN.search(attributes.get("style") or ""))
    )


def _is_layout_table(table: LexborNode) -> bool:
    """Whether a table only arranges a page: by its role, a table inside it, or having one cell."""
    if table.attributes.get("role") in ("presentation", "none"):
        return True
    cells = 0
    for node, entering in _walk(table):
        if entering and node.tag == "table":
            return True
        cells += entering and node.tag in ("td", "th")
    return cells == 1


def _text_on_one_line(top: LexborNode) -> str:
    """The text inside `top` on one line."""
    pieces: list[str] = []
    for node, entering in _walk(top):
        tag = node.tag or ""
        if tag == "-text":
            pieces.append(_inline_text(node))
        elif tag in _STRUCK:
            pieces.append(_STRUCK[tag])
        elif tag in _BLOCK_TAGS or tag in _HEADING_LEVELS or tag == "br":
            pieces.append(" ")
        elif entering and tag == "math" and node.attributes.get("alttext"):
            pieces.append(f" {node.attributes['alttext']} ")
    return _SPACES.sub(" ", "".join(pieces)).strip()
