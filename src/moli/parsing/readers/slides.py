"""PowerPoint presentations (.pptx): each slide is a page, with its notes and comments after it."""

from collections.abc import Iterator

from lxml import etree

from moli.parsing.archive import REPAIR, Archive
from moli.parsing.blocks import Blocks
from moli.parsing.limits import Limits
from moli.parsing.office.charts import add_chart
from moli.parsing.office.equations import equation_text
from moli.parsing.office.markup import (
    NO_RELATIONSHIP,
    Relationship,
    add_core_properties,
    attribute,
    child,
    children,
    descendants,
    local_name,
    main_part,
    parse_xml,
    relation_id,
    relationships,
)
from moli.parsing.raised import raise_number
from moli.records.errors import DocumentError

_TITLES = ("title", "ctrTitle")
# Placeholder types that repeat on every slide or hold fields.
_REPEATED_PLACEHOLDERS = ("sldNum", "dt", "hdr", "sldImg")


def read(data: bytes, blocks: Blocks, limits: Limits) -> None:
    """Add the presentation in `data` to `blocks`."""
    archive = Archive(data, limits)
    add_core_properties(archive, blocks)
    main = main_part(archive, "ppt/presentation.xml")
    slides = child(parse_xml(archive.read(main)), "sldIdLst")
    targets = relationships(archive, main)
    footers: set[str] = set()
    for number, entry in enumerate(slides if slides is not None else (), start=1):
        blocks.begin_page()
        part = targets.get(relation_id(entry), NO_RELATIONSHIP).part
        try:
            _add_slide(archive, part, blocks, footers)
        except DocumentError as error:
            if error.reason != "broken":
                raise
            blocks.warn(f"slide {number} could not be read: {error.what}")


def _add_slide(archive: Archive, part: str, blocks: Blocks, footers: set[str]) -> None:
    """Add the shapes of a slide, then its notes and comments.

    Args:
        footers: the footers of the slides before, which are not repeated; updated.
    """
    root = parse_xml(archive.read(part))
    tree = child(root, "cSld", "spTree")
    if tree is None:
        raise DocumentError("broken", "a slide has no shapes", fix=REPAIR)
    if attribute(root, "show") == "0":
        blocks.warn("hidden slides are included")
    targets = relationships(archive, part)
    for shape in _shapes_in_order(tree):
        if _placeholder_type(shape) == "ftr":
            text = " ".join(_paragraph_text(line) for line in descendants(shape, "p")).strip()
            if text in footers:
                continue
            footers.add(text)
        _add_shape(shape, archive, targets, blocks)
    for target in targets.values():
        if target.part not in archive:
            continue
        if target.kind == "notesSlide":
            _add_notes(parse_xml(archive.read(target.part)), blocks)
        elif target.kind == "comments":
            _add_comments(parse_xml(archive.read(target.part)), archive, blocks)


def _shapes_in_order(tree: etree._Element) -> Iterator[etree._Element]:
    """The shapes of a slide, also those in groups, with the title first."""
    shapes = list(_ungrouped_shapes(tree))
    shapes.sort(key=lambda shape: _placeholder_type(shape) not in _TITLES)
    yield from shapes


def _ungrouped_shapes(tree: etree._Element) -> Iterator[etree._Element]:
    """The shapes in a shape tree, also those inside groups."""
    for element in tree:
        name = local_name(element)
        if name in ("grpSp", "AlternateContent", "Choice"):
            yield from _ungrouped_shapes(element)
        elif name in ("sp", "graphicFrame", "cxnSp"):
            yield element


def _placeholder_type(shape: etree._Element) -> str:
    """The type of placeholder that a shape fills, such as `title`; empty if it fills none."""
    placeholder = next(descendants(shape, "ph"), None)
    return "" if placeholder is None else attribute(placeholder, "type") or "body"


def _add_shape(
    shape: etree._Element,
    archive: Archive,
    targets: dict[str, Relationship],
    blocks: Blocks,
) -> None:
    """Add a shape; `targets` are the parts that the slide refers to."""
    kind = _placeholder_type(shape)
    if kind in _REPEATED_PLACEHOLDERS:
        return
    blocks.end_group()
    if local_name(shape) == "graphicFrame":
        _add_graphic_frame(shape, archive, targets, blocks)
        return
    body = child(shape, "txBody")
    if body is None:
        return
    if kind in _TITLES:
        text = " ".join(_paragraph_text(paragraph) for paragraph in children(body, "p"))
        blocks.add_heading(text, 1)
        return
    _add_text_frame(body, kind, blocks)


def _add_text_frame(body: etree._Element, kind: str, blocks: Blocks) -> None:
    """Add the paragraphs of a text frame; those of a body placeholder are list items by default."""
    paragraphs = [(p, text) for p in children(body, "p") if (text := _paragraph_text(p)).strip()]
    for paragraph, text in paragraphs:
        properties = child(paragraph, "pPr")
        level = attribute(properties, "lvl") if properties is not None else ""
        depth = int(level) if level.isdigit() else 0
        is_item = any(child(properties, name) is not None for name in ("buChar", "buAutoNum"))
        if kind in ("body", "obj") and len(paragraphs) > 1:
            is_item = is_item or child(properties, "buNone") is None
        if is_item or depth:
            blocks.add_item(text.replace("\n", " "), depth=depth)
        else:
            blocks.add_paragraph(text)


def _paragraph_text(paragraph: etree._Element) -> str:
    """The text of a paragraph, with line breaks and equations."""
    pieces = []
    for part in paragraph:
        name = local_name(part)
        if name in ("r", "fld"):
            pieces.append(_run_text(part))
        elif name == "br":
            pieces.append("\n")
        elif name in ("m", "AlternateContent"):
            math = next(descendants(part, "oMath"), None)
            pieces.append(equation_text(math))
    return "".join(pieces)


def _run_text(run: etree._Element) -> str:
    """The text of a run; a number that is raised is in superscript."""
    text = child(run, "t")
    if text is None or not text.text:
        return ""
    properties = child(run, "rPr")
    shift = attribute(properties, "baseline") if properties is not None else ""
    return raise_number(text.text) if shift.strip("%0").isdigit() else text.text


def _add_graphic_frame(
    frame: etree._Element,
    archive: Archive,
    targets: dict[str, Relationship],
    blocks: Blocks,
) -> None:
    """Add the table, chart or diagram in a graphic frame."""
    for table in descendants(frame, "tbl"):
        above: list[str] = []
        for row in children(table, "tr"):
            cells = list(children(row, "tc"))
            above = [
                _cell_text(cell, above[n] if n < len(above) else "") for n, cell in enumerate(cells)
            ]
            blocks.add_row(above)
        blocks.end_group()
    for chart in descendants(frame, "chart"):
        part = targets.get(relation_id(chart), NO_RELATIONSHIP).part
        if part in archive:
            add_chart(parse_xml(archive.read(part)), blocks)
    for diagram in descendants(frame, "relIds"):
        part = targets.get(attribute(diagram, "dm"), NO_RELATIONSHIP).part
        if part in archive:
            for body in descendants(parse_xml(archive.read(part)), "t"):
                for paragraph in children(body, "p"):
                    blocks.add_item(_paragraph_text(paragraph))
            blocks.end_group()


def _cell_text(cell: etree._Element, above: str) -> str:
    """The text of a cell; `above`, the text of the cell above it, if both are merged."""
    if attribute(cell, "vMerge") in ("1", "true"):
        return above
    body = child(cell, "txBody")
    paragraphs = children(body, "p") if body is not None else ()
    return " ".join(_paragraph_text(paragraph) for paragraph in paragraphs)


def _add_comments(root: etree._Element, archive: Archive, blocks: Blocks) -> None:
    """Add comments and replies, in the older and the newer form."""
    authors: dict[str, str] = {}
    for part in ("ppt/commentAuthors.xml", "ppt/authors.xml"):
        if part in archive:
            for author in parse_xml(archive.read(part)):
                authors[attribute(author, "id")] = attribute(author, "name")
    for comment in root.iter("{*}cm", "{*}reply"):
        pieces = [child(comment, "text"), *descendants(_own_body(comment), "t")]
        text = "".join(piece.text or "" for piece in pieces if piece is not None)
        author_name = authors.get(attribute(comment, "authorId"), "")
        blocks.add_paragraph(
            f"[Comment by {author_name}: {text}]" if author_name else f"[Comment: {text}]"
        )


def _own_body(comment: etree._Element) -> etree._Element:
    """The text frame of a comment itself, not of its replies; an empty element if it has none."""
    body = child(comment, "txBody")
    return body if body is not None else etree.Element("none")


def _add_notes(root: etree._Element, blocks: Blocks) -> None:
    """Add the speaker notes of a slide."""
    for shape in descendants(root, "sp"):
        body = child(shape, "txBody")
        if body is not None and _placeholder_type(shape) not in _REPEATED_PLACEHOLDERS:
            for paragraph in children(body, "p"):
                blocks.add_paragraph(_paragraph_text(paragraph))
