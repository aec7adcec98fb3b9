"""XML parsed without entities, DTDs or network, and the few ways it is read here.

Names are compared without their namespace: the strict and transitional dialects of Office
files differ in nothing else.
"""

from collections.abc import Iterator

from lxml import etree

from moli.parsing.archive import REPAIR, Archive, resolve
from moli.records.errors import DocumentError


def parse_xml(data: bytes) -> etree._Element:
    """The root of an XML part; one that declares entities is refused, not expanded."""
    parser = etree.XMLParser(
        resolve_entities=False, no_network=True, load_dtd=False,
        remove_comments=True, remove_pis=True,
    )  # fmt: skip
    try:
        root = etree.fromstring(data, parser)
    except etree.XMLSyntaxError as error:
        raise xml_error(error) from error
    refuse_entities(root)
    return root


def xml_error(error: etree.XMLSyntaxError) -> DocumentError:
    """What a syntax error means; libxml2 also reports entities that multiply as one."""
    if "entity" in str(error).lower() and "amplification" in str(error).lower():
        return _entities()
    return DocumentError("broken", f"its XML is damaged ({error})", fix=REPAIR)


def refuse_entities(root: etree._Element) -> None:
    """Raise if the document of `root` declares entities."""
    dtd = root.getroottree().docinfo.internalDTD
    if dtd is not None and any(True for _ in dtd.iterentities()):
        raise _entities()


def _entities() -> DocumentError:
    return DocumentError(
        "bomb",
        "its XML declares entities, which can grow without limit or read other files",
        fix="Do not trust this file; ask its sender for another copy.",
    )


def local(element: etree._Element) -> str:
    """The name of an element without its namespace; empty for comments and entities."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def attribute(element: etree._Element, name: str) -> str:
    """The attribute of that local name, whatever its namespace, or empty."""
    value = element.get(name)
    if value is not None:
        return str(value)
    for key, found in element.items():
        if key.rpartition("}")[2] == name:
            return str(found)
    return ""


def children(element: etree._Element, name: str) -> Iterator[etree._Element]:
    """The children with that local name."""
    return (child for child in element if local(child) == name)


def child(element: etree._Element | None, *path: str) -> etree._Element | None:
    """The first element found by stepping down `path`, or None."""
    for name in path:
        if element is None:
            return None
        element = next(children(element, name), None)
    return element


def descendants(element: etree._Element, name: str) -> Iterator[etree._Element]:
    """Every element below with that local name, in document order."""
    yield from element.iter(f"{{*}}{name}")


def relation_id(element: etree._Element) -> str:
    """The id by which an element refers to another part: `r:id`, not a plain `id`."""
    found = (value for key, value in element.items() if key.startswith("{") and key[-3:] == "}id")
    return str(next(found, ""))


def relations(archive: Archive, part: str) -> dict[str, tuple[str, str]]:
    """What `part` points to inside the archive: id -> (last word of the type, part name)."""
    folder, _, name = part.rpartition("/")
    path = f"{folder}/_rels/{name}.rels".lstrip("/")
    if path not in archive:
        return {}
    found = {}
    for relation in children(parse_xml(archive.read(path)), "Relationship"):
        if relation.get("TargetMode") != "External":
            kind = (relation.get("Type") or "").rpartition("/")[2]
            found[relation.get("Id") or ""] = (kind, resolve(part, relation.get("Target") or ""))
    return found


_PROPERTIES = {"creator": "author", "created": "created", "modified": "modified",
               "subject": "subject", "keywords": "keywords", "language": "language"}  # fmt: skip


def core_properties(archive: Archive) -> tuple[str, dict[str, str]]:
    """The title and properties that an Office file states about itself."""
    if "docProps/core.xml" not in archive:
        return "", {}
    try:
        root = parse_xml(archive.read("docProps/core.xml"))
    except DocumentError as error:
        if error.reason != "broken":
            raise
        return "", {}  # Damaged properties are no reason to lose the text.
    values = {local(element): (element.text or "").strip() for element in root}
    return values.get("title", ""), {
        name: values[key] for key, name in _PROPERTIES.items() if values.get(key)
    }
