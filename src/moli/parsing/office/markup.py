"""XML parsed without entities, DTDs or network, and functions to find elements in it.

Names are compared without their namespace: the strict and transitional dialects of Office
files differ in nothing else.
"""

from collections.abc import Iterator
from dataclasses import dataclass

from lxml import etree

from moli.parsing.archive import REPAIR, Archive, resolve_part
from moli.parsing.blocks import Blocks
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
    """The refusal for a syntax error, which libxml2 also reports if entities expand too much."""
    if "entity" in str(error).lower() and "amplification" in str(error).lower():
        return _entity_error()
    return DocumentError("broken", f"its XML is damaged ({error})", fix=REPAIR)


def refuse_entities(root: etree._Element) -> None:
    """Raise if the document of `root` declares entities."""
    dtd = root.getroottree().docinfo.internalDTD
    if dtd is not None and any(True for _ in dtd.iterentities()):
        raise _entity_error()


def _entity_error() -> DocumentError:
    """The refusal of XML that declares entities."""
    return DocumentError(
        "bomb",
        "its XML declares entities, which can grow without limit or read other files",
        fix="Do not trust this file; ask its sender for another copy.",
    )


def local_name(element: etree._Element) -> str:
    """The name of an element without its namespace; empty for comments and entities."""
    tag = element.tag
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def attribute(element: etree._Element, name: str) -> str:
    """The value of the attribute with that name in any namespace; empty if there is none."""
    value = element.get(name)
    if value is not None:
        return str(value)
    for key, value in element.items():
        if key.rpartition("}")[2] == name:
            return str(value)
    return ""


def val(element: etree._Element | None) -> str:
    """The attribute `val`, in which Word keeps most settings; empty without an element."""
    return attribute(element, "val") if element is not None else ""


def children(element: etree._Element, name: str) -> Iterator[etree._Element]:
    """The children with that local name."""
    return (child for child in element if local_name(child) == name)


def child(element: etree._Element | None, *path: str) -> etree._Element | None:
    """The first element reached by going down the names in `path`; None if there is none."""
    for name in path:
        if element is None:
            return None
        element = next(children(element, name), None)
    return element


def descendants(element: etree._Element, name: str) -> Iterator[etree._Element]:
    """All descendants with that local name, in document order."""
    yield from element.iter(f"{{*}}{name}")


def is_superscript(run: etree._Element | None) -> bool:
    """Whether a run of Word or Excel is formatted as superscript."""
    return val(child(run, "rPr", "vertAlign")) == "superscript"


def relation_id(element: etree._Element) -> str:
    """The id by which an element refers to another part: `r:id`, not a plain `id`."""
    matches = (value for key, value in element.items() if key.startswith("{") and key[-3:] == "}id")
    return str(next(matches, ""))


@dataclass(frozen=True, slots=True)
class Relationship:
    """A reference from one part of an Office file to another.

    Attributes:
        kind: last word of the relationship type, such as `chart`.
        part: name of the part that is referred to.
    """

    kind: str
    part: str


NO_RELATIONSHIP = Relationship("", "")


def relationships(archive: Archive, part: str) -> dict[str, Relationship]:
    """The relationships of `part` to other parts, by their ids."""
    folder, _, name = part.rpartition("/")
    path = f"{folder}/_rels/{name}.rels".lstrip("/")
    if path not in archive:
        return {}
    result = {}
    for relation in children(parse_xml(archive.read(path)), "Relationship"):
        if relation.get("TargetMode") != "External":
            kind = (relation.get("Type") or "").rpartition("/")[2]
            target = resolve_part(part, relation.get("Target") or "")
            result[relation.get("Id") or ""] = Relationship(kind, target)
    return result


def main_part(archive: Archive, default: str) -> str:
    """Name of the part that holds the main content of an Office file."""
    targets = relationships(archive, "").values()
    return next((target.part for target in targets if target.kind == "officeDocument"), default)


_PROPERTIES = {"creator": "author", "created": "created", "modified": "modified",
               "subject": "subject", "keywords": "keywords", "language": "language"}  # fmt: skip


def add_core_properties(archive: Archive, blocks: Blocks) -> None:
    """Take over the title and properties that an Office file states about itself."""
    if "docProps/core.xml" not in archive:
        return
    try:
        root = parse_xml(archive.read("docProps/core.xml"))
    except DocumentError as error:
        if error.reason != "broken":
            raise
        return  # Damaged properties are no reason to lose the text.
    values = {local_name(element): (element.text or "").strip() for element in root}
    blocks.title = values.get("title", "")
    blocks.metadata = {name: values[key] for key, name in _PROPERTIES.items() if values.get(key)}
