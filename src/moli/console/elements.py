"""Elements of the page, and references to places in documents."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nicegui.element import Element
from nicegui.elements.mixins.text_element import TextElement

from moli.records.answers import Citation, Hit
from moli.records.documents import Document


@dataclass(frozen=True, slots=True)
class Reference:
    """A place in a document that can be opened; `start == end` means its beginning, unmarked."""

    document_id: int
    title: str
    source: str
    heading: str = ""
    page: int | None = None
    start: int = 0
    end: int = 0

    @classmethod
    def of_document(cls, document: Document) -> Reference:
        return cls(document.id, title_of(document.title, document.source), document.source)

    @classmethod
    def of_citation(cls, citation: Citation) -> Reference:
        return cls._of_place(citation)

    @classmethod
    def of_hit(cls, hit: Hit) -> Reference:
        return cls._of_place(hit)

    @classmethod
    def _of_place(cls, place: Citation | Hit) -> Reference:
        return cls(
            place.document_id,
            title_of(place.title, place.source),
            place.source,
            place.heading,
            place.page,
            place.start,
            place.end,
        )


def title_of(title: str, source: str) -> str:
    """A document's title, or the name of its file."""
    return title.strip() or source.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]


def part(tag: str, classes: str = "") -> Element:
    """An element that holds others."""
    return Element(tag).classes(classes)


def said(tag: str, text: str, classes: str = "") -> Element:
    """An element that says a text, whatever the text may look like."""
    return TextElement(tag=tag, text=text).classes(classes)


def button(
    classes: str, *, kind: Literal["button", "submit"] = "button", label: str = ""
) -> Element:
    """A plain button; `label` is what a screen reader says in place of its text."""
    element = Element("button").classes(classes)
    element.props["type"] = kind
    if label:
        element.props["aria-label"] = label
        element.props["title"] = label
    return element
