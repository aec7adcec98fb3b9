"""PowerPoint presentations: each slide is a page, its notes and comments follow it."""

from collections.abc import Iterator

from lxml import etree

from moli.records.errors import DocumentError
from moli.retrieval.parse.archive import REPAIR, Archive
from moli.retrieval.parse.blocks import Blocks
from moli.retrieval.parse.equations import linear
from moli.retrieval.parse.limits import Limits
from moli.retrieval.parse.markup import (
    attribute,
    child,
    children,
    core_properties,
    descendants,
    local,
    parse_xml,
    relations,
)

_TITLES = ("title", "ctrTitle")
# Placeholders that repeat on every slide or hold fields.
_FURNITURE = ("sldNum", "dt", "ftr", "hdr", "sldImg")


def read(data: bytes, blocks: Blocks, limits: Limits) -> None:
    """Add the presentation in `data` to `blocks`."""
    archive = Archive(data, limits)
    blocks.title, blocks.metadata = core_properties(archive)
    parts = [part for kind, part in relations(archive, "").values() if kind == "officeDocument"]
    main = parts[0] if parts else "ppt/presentation.xml"
    slides = child(parse_xml(archive.read(main)), "sldIdLst")
    targets = relations(archive, main)
    for number, entry in enumerate(slides if slides is not None else (), start=1):
        blocks.page()
        _, part = targets.get(_relation(entry), ("", ""))
        try:
            _slide(archive, part, blocks)
        except DocumentError as error:
            if error.reason != "broken":
                raise
            blocks.warn(f"slide {number} could not be read: {error.what}")


def _slide(archive: Archive, part: str, blocks: Blocks) -> None:
    root = parse_xml(archive.read(part))
    tree = child(root, "cSld", "spTree")
    if tree is None:
        raise DocumentError("broken", "a slide has no shapes", fix=REPAIR)
    if attribute(root, "show") == "0":
        blocks.warn("hidden slides are included")
    targets = relations(archive, part)
    for shape in _shapes(tree):
        _shape(shape, archive, targets, blocks)
    for kind, target in targets.values():
        if target not in archive:
            continue
        if kind == "notesSlide":
            _notes(parse_xml(archive.read(target)), blocks)
        elif kind == "comments":
            for text in descendants(parse_xml(archive.read(target)), "text"):
                blocks.paragraph(f"[Comment: {text.text or ''}]")


def _relation(element: etree._Element) -> str:
    """The relation id: `r:id`, which stands beside a plain `id` on a slide entry."""
    for key, value in element.items():
        if key.startswith("{") and key.endswith("}id"):
            return value
    return ""


def _shapes(tree: etree._Element) -> Iterator[etree._Element]:
    """The shapes of a slide, groups opened, the title first."""
    shapes = list(_flatten(tree))
    shapes.sort(key=lambda shape: _placeholder(shape) not in _TITLES)
    yield from shapes


def _flatten(tree: etree._Element) -> Iterator[etree._Element]:
    for element in tree:
        name = local(element)
        if name in ("grpSp", "AlternateContent", "Choice"):
            yield from _flatten(element)
        elif name in ("sp", "graphicFrame", "cxnSp"):
            yield element


def _placeholder(shape: etree._Element) -> str:
    mark = next(descendants(shape, "ph"), None)
    return "" if mark is None else attribute(mark, "type") or "body"


def _shape(
    shape: etree._Element,
    archive: Archive,
    targets: dict[str, tuple[str, str]],
    blocks: Blocks,
) -> None:
    kind = _placeholder(shape)
    if kind in _FURNITURE:
        return
    blocks.end()
    if local(shape) == "graphicFrame":
        _frame(shape, archive, targets, blocks)
        return
    body = child(shape, "txBody")
    if body is None:
        return
    if kind in _TITLES:
        text = " ".join(_paragraph(paragraph) for paragraph in children(body, "p"))
        blocks.heading(text, 1)
        return
    _body(body, kind, blocks)


def _body(body: etree._Element, kind: str, blocks: Blocks) -> None:
    """Paragraphs of a text frame; a body placeholder is bulleted unless it says otherwise."""
    paragraphs = [(p, text) for p in children(body, "p") if (text := _paragraph(p)).strip()]
    for paragraph, text in paragraphs:
        properties = child(paragraph, "pPr")
        level = attribute(properties, "lvl") if properties is not None else ""
        depth = int(level) if level.isdigit() else 0
        bulleted = any(child(properties, name) is not None for name in ("buChar", "buAutoNum"))
        plain = child(properties, "buNone") is not None
        if bulleted or (kind in ("body", "obj") and len(paragraphs) > 1 and not plain) or depth:
            blocks.item(text.replace("\n", " "), depth=depth)
        else:
            blocks.paragraph(text)


def _paragraph(paragraph: etree._Element) -> str:
    pieces = []
    for part in paragraph:
        name = local(part)
        if name in ("r", "fld"):
            text = child(part, "t")
            pieces.append((text.text or "") if text is not None else "")
        elif name == "br":
            pieces.append("\n")
        elif name in ("m", "AlternateContent"):
            math = next(descendants(part, "oMath"), None)
            pieces.append(linear(math))
    return "".join(pieces)


def _frame(
    frame: etree._Element,
    archive: Archive,
    targets: dict[str, tuple[str, str]],
    blocks: Blocks,
) -> None:
    """A table, chart or diagram."""
    for table in descendants(frame, "tbl"):
        for row in children(table, "tr"):
            blocks.row(_cell(cell) for cell in children(row, "tc"))
        blocks.end()
    for chart in descendants(frame, "chart"):
        _, part = targets.get(_relation(chart), ("", ""))
        if part in archive:
            chart_text(parse_xml(archive.read(part)), blocks)
    for diagram in descendants(frame, "relIds"):
        _, part = targets.get(attribute(diagram, "dm"), ("", ""))
        if part in archive:
            for body in descendants(parse_xml(archive.read(part)), "t"):
                for paragraph in children(body, "p"):
                    blocks.item(_paragraph(paragraph))
            blocks.end()


def _cell(cell: etree._Element) -> str:
    if attribute(cell, "vMerge") in ("1", "true"):
        return ""
    body = child(cell, "txBody")
    paragraphs = children(body, "p") if body is not None else ()
    return " ".join(_paragraph(paragraph) for paragraph in paragraphs)


def chart_text(root: etree._Element, blocks: Blocks) -> None:
    """The title and the numbers of a chart, one category a row."""
    title = next(descendants(root, "title"), None)
    if title is not None:
        blocks.paragraph("".join(part.text or "" for part in descendants(title, "t")))
    categories: list[str] = []
    columns: list[list[str]] = []
    for series in descendants(root, "ser"):
        name = _points(child(series, "tx"))
        labels = child(series, "cat")
        labels = child(series, "xVal") if labels is None else labels
        values = child(series, "val")
        values = child(series, "yVal") if values is None else values
        categories = categories or _points(labels)
        columns.append([*(name[:1] or [""]), *_points(values)])
    height = max((len(column) for column in columns), default=0)
    for row in range(height):
        label = categories[row - 1] if 0 < row <= len(categories) else ""
        blocks.row([label, *(column[row] if row < len(column) else "" for column in columns)])
    blocks.end()


def _points(element: etree._Element | None) -> list[str]:
    """The cached values of a reference into the chart's sheet."""
    if element is None:
        return []
    return [value.text or "" for value in descendants(element, "v")]


def _notes(root: etree._Element, blocks: Blocks) -> None:
    for shape in descendants(root, "sp"):
        body = child(shape, "txBody")
        if body is not None and _placeholder(shape) not in _FURNITURE:
            for paragraph in children(body, "p"):
                blocks.paragraph(_paragraph(paragraph))
