"""EPUB books: the chapters in the order of the spine."""

import re
from collections.abc import Iterator
from urllib.parse import unquote

from lxml import etree

from moli.parsing.archive import REPAIR, Archive, resolve_part
from moli.parsing.blocks import Blocks
from moli.parsing.encodings import decode
from moli.parsing.limits import Limits
from moli.parsing.office.markup import (
    attribute,
    child,
    children,
    descendants,
    local_name,
    parse_xml,
)
from moli.parsing.readers.web import read_html
from moli.records.errors import DocumentError

# In XHTML an element may close itself; to an HTML parser it would stay open and swallow the rest.
_SELF_CLOSED = re.compile(r"<(title|script|style|iframe|textarea|a|p|div|span|i|b|em)\b([^<>]*)/>")
_XML_ENCODING = re.compile(rb"<\?xml[^>]+encoding=[\"']([\w.:-]+)")
_FONT_MANGLING = ("http://www.idpf.org/2008/embedding", "http://ns.adobe.com/pdf/enc#RC")


def read(data: bytes, blocks: Blocks, limits: Limits) -> None:
    """Add the book in `data` to `blocks`."""
    archive = Archive(data, limits)
    _refuse_protected(archive)
    package = _package_name(archive)
    root = parse_xml(archive.read(package))
    _read_metadata(child(root, "metadata"), blocks)
    spine = _spine_parts(root, package)
    if not any(part in archive for part in spine):
        blocks.warn("it does not say in which order its chapters are read")
        spine = _listed_parts(archive, root, package)
    labels = _toc_labels(archive, root, package)
    for part in spine:
        if part not in archive:
            blocks.warn(f"the part {part} is missing")
            continue
        raw = archive.read(part)
        declared = _XML_ENCODING.match(raw)
        html = decode(raw, declared[1].decode() if declared else "")
        if part in labels and not re.search(r"<h[1-6][\s>]", html, re.IGNORECASE):
            blocks.add_heading(labels[part], 1)
        title = blocks.title or " "  # A chapter's own title is not the book's.
        blocks.title = title
        read_html(_SELF_CLOSED.sub(r"<\1\2></\1>", html), blocks)


def _refuse_protected(archive: Archive) -> None:
    """Raise `DocumentError` if anything but fonts is encrypted."""
    if "META-INF/encryption.xml" not in archive:
        return
    for entry in descendants(parse_xml(archive.read("META-INF/encryption.xml")), "EncryptedData"):
        method = child(entry, "EncryptionMethod")
        if method is None or attribute(method, "Algorithm") not in _FONT_MANGLING:
            raise DocumentError(
                "encrypted",
                "it is protected by digital rights management",
                fix="Ask the publisher for a copy without protection.",
            )


def _package_name(archive: Archive) -> str:
    """Name of the part that describes the book."""
    if "META-INF/container.xml" in archive:
        container = parse_xml(archive.read("META-INF/container.xml"))
        for root_file in descendants(container, "rootfile"):
            name = unquote(attribute(root_file, "full-path"))
            if name in archive:
                return name
    name = next((name for name in archive.names() if name.lower().endswith(".opf")), "")
    if not name:
        raise DocumentError("broken", "it does not say where its contents are", fix=REPAIR)
    return name


def _read_metadata(metadata: etree._Element | None, blocks: Blocks) -> None:
    """Take over the title and properties that the package states about the book."""
    for element in metadata if metadata is not None else ():
        name, text = local_name(element), (element.text or "").strip()
        if name == "title" and not blocks.title:
            blocks.title = text
        elif name in ("creator", "language", "publisher", "date") and text:
            blocks.metadata.setdefault("author" if name == "creator" else name, text)


def _spine_parts(root: etree._Element, package: str) -> list[str]:
    """Names of the parts in reading order.

    Args:
        root: the package document.
        package: name of its part, to which the others are relative.
    """
    items = dict(_pages(root, package))
    spine = child(root, "spine")
    references = children(spine, "itemref") if spine is not None else ()
    return [items[name] for item in references if (name := attribute(item, "idref")) in items]


def _pages(root: etree._Element, package: str) -> Iterator[tuple[str, str]]:
    """Ids and part names of the pages in the manifest, without its table of contents."""
    manifest = child(root, "manifest")
    for item in children(manifest, "item") if manifest is not None else ():
        name = attribute(item, "id")
        is_contents = "nav" in attribute(item, "properties").split()
        is_shown = not is_contents or _is_in_spine(root, name)
        if is_shown and "html" in attribute(item, "media-type"):
            yield name, resolve_part(package, unquote(attribute(item, "href")))


def _is_in_spine(root: etree._Element, name: str) -> bool:
    """Whether the spine names an item of the manifest."""
    return any(attribute(item, "idref") == name for item in descendants(root, "itemref"))


def _listed_parts(archive: Archive, root: etree._Element, package: str) -> list[str]:
    """Names of the pages in the order of the manifest, or of the archive if that names none."""
    listed = [part for _, part in _pages(root, package) if part in archive]
    pages = (name for name in archive.names() if name.lower().endswith((".xhtml", ".html", ".htm")))
    return listed or list(pages)


def _toc_labels(archive: Archive, root: etree._Element, package: str) -> dict[str, str]:
    """Titles of parts in the table of contents; the first entry that points to a part counts."""
    labels: dict[str, str] = {}
    for item in descendants(root, "item"):
        part = resolve_part(package, unquote(attribute(item, "href")))
        if attribute(item, "media-type") != "application/x-dtbncx+xml" or part not in archive:
            continue
        for point in descendants(parse_xml(archive.read(part)), "navPoint"):
            content = child(point, "content")
            text = child(point, "navLabel", "text")
            if content is not None and text is not None:
                target = unquote(attribute(content, "src").partition("#")[0])
                labels.setdefault(resolve_part(part, target), text.text or "")
    return labels
