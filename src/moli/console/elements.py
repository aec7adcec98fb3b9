"""Elements of the page, and locations in documents that it opens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement

from moli.records.answers import Citation, Hit
from moli.records.documents import Document


@dataclass(frozen=True, slots=True)
class DocumentLocation:
    """A part of a document that can be opened and highlighted.

    Attributes:
        start, end: characters to highlight; if they are equal, the beginning of the document is
            opened without a highlight.
    """

    document_id: int
    title: str
    source: str
    heading: str = ""
    page: int | None = None
    start: int = 0
    end: int = 0
    time: str | None = None

    @classmethod
    def of_document(cls, document: Document) -> DocumentLocation:
        """The location of a document's beginning, without a highlight."""
        return cls(document.id, title_of(document.title, document.source), document.source)

    @classmethod
    def of_citation(cls, citation: Citation) -> DocumentLocation:
        """The location of a citation's quote."""
        return cls._of_passage(citation)

    @classmethod
    def of_hit(cls, hit: Hit) -> DocumentLocation:
        """The location of a hit's passage."""
        return cls._of_passage(hit)

    @classmethod
    def _of_passage(cls, passage: Citation | Hit) -> DocumentLocation:
        """The characters from `start` to `end` of a citation or a hit."""
        return cls(
            passage.document_id,
            title_of(passage.title, passage.source),
            passage.source,
            passage.heading,
            passage.page,
            passage.start,
            passage.end,
            passage.time,
        )


def title_of(title: str, source: str) -> str:
    """A document's title, or the name of its file if it has none."""
    return title.strip() or source.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]


def add_container(tag: str, classes: str = "") -> Element:
    """Add an element that contains others."""
    return Element(tag).classes(classes)


def add_text(tag: str, text: str, classes: str = "") -> Element:
    """Add an element with a text, which is never read as markup."""
    return TextElement(tag=tag, text=text).classes(classes)


def add_button(
    classes: str, *, kind: Literal["button", "submit"] = "button", label: str = ""
) -> Element:
    """Add a button without style; screen readers read `label`, if any, instead of its text."""
    element = Element("button").classes(classes)
    element.props["type"] = kind
    if label:
        element.props["aria-label"] = label
        element.props["title"] = label
    return element
