"""PowerPoint presentations: each slide is a page, its notes and comments follow it."""

from collections.abc import Iterator

from lxml import etree

from moli.parsing.archive import REPAIR, Archive
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
    relation_id,
    relations,
)
from moli.records.errors import DocumentError

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
        _, part = targets.get(relation_id(entry), ("", ""))
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
            _comments(parse_xml(archive.read(target)), archive, blocks)


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
        above: list[str] = []
        for row in children(table, "tr"):
            cells = list(children(row, "tc"))
            above = [
                _cell(cell, above[n] if n < len(above) else "") for n, cell in enumerate(cells)
            ]
            blocks.row(above)
        blocks.end()
    for chart in descendants(frame, "chart"):
        _, part = targets.get(relation_id(chart), ("", ""))
        if part in archive:
            add_chart(parse_xml(archive.read(part)), blocks)
    for diagram in descendants(frame, "relIds"):
        _, part = targets.get(attribute(diagram, "dm"), ("", ""))
        if part in archive:
            for body in descendants(parse_xml(archive.read(part)), "t"):
                for paragraph in children(body, "p"):
                    blocks.item(_paragraph(paragraph))
            blocks.end()


def _cell(cell: etree._Element, above: str) -> str:
    """The text of a cell; one that spans rows is repeated, so that each row can stand alone."""
    if attribute(cell, "vMerge") in ("1", "true"):
        return above
    body = child(cell, "txBody")
    paragraphs = children(body, "p") if body is not None else ()
    return " ".join(_paragraph(paragraph) for paragraph in paragraphs)


def _comments(root: etree._Element, archive: Archive, blocks: Blocks) -> None:
    """Comments and replies, in the older and the newer form."""
    authors: dict[str, str] = {}
    for part in ("ppt/commentAuthors.xml", "ppt/authors.xml"):
        if part in archive:
            for author in parse_xml(archive.read(part)):
                authors[attribute(author, "id")] = attribute(author, "name")
    for comment in root.iter("{*}cm", "{*}reply"):
        pieces = [child(comment, "text"), *descendants(_own_body(comment), "t")]
        text = "".join(piece.text or "" for piece in pieces if piece is not None)
        author_name = authors.get(attribute(comment, "authorId"), "")
        blocks.paragraph(
            f"[Comment by {author_name}: {text}]" if author_name else f"[Comment: {text}]"
        )


def _own_body(comment: etree._Element) -> etree._Element:
    """The text frame of a comment, not those of its replies; an empty element if it has none."""
    body = child(comment, "txBody")
    return body if body is not None else etree.Element("none")


def _notes(root: etree._Element, blocks: Blocks) -> None:
    for shape in descendants(root, "sp"):
        body = child(shape, "txBody")
        if body is not None and _placeholder(shape) not in _FURNITURE:
            for paragraph in children(body, "p"):
                blocks.paragraph(_paragraph(paragraph))
