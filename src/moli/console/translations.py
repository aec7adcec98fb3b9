"""Texts of the page in English, and in Chinese by the catalogue of messages."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Literal

from moli.console.elements import DocumentLocation
from moli.translations.catalogue import load_catalogue
from moli.translations.preference import requested_language


@dataclass(frozen=True, slots=True)
class Translation:
    """Texts of the page in one language; names in braces are filled in."""

    language: Literal["en-US", "zh-CN"]
    heading: str
    subheading: str
    placeholder: str
    question: str
    ask: str
    searching: str
    try_example: str
    one_document: str
    many_documents: str
    no_documents: str
    more_documents: str
    answer: str
    unsupported: str
    unsupported_hint: str
    conflict: str
    closest: str
    missing: str
    no_answer: str
    no_answer_hint: str
    nearest_passages: str
    no_passages: str
    sources: str
    source: str
    page: str
    citation: str
    confidence: str
    made_of_quotes: str
    generated_by: str
    duration: str
    trace_id: str
    close: str
    excerpt_note: str
    document_removed: str
    server_error: str
    separator: str
    sign_in: str
    sign_in_hint: str
    key_label: str
    sign_in_button: str
    wrong_key: str
    stop: str
    stopped: str
    filter: str
    no_match: str
    nothing_visible: str
    drop: str
    drop_hint: str
    uploading: str
    added: str
    updated: str
    unchanged: str
    upload_failed: str
    upload_folder: str
    helpful: str
    wrong: str
    thanks: str
    not_saved: str
    offline: str
    signed_in: str
    sign_out: str

    def count_label(self, documents: int) -> str:
        """The number of documents, in words."""
        many = self.many_documents.format(count=f"{documents:,}")
        return self.one_document if documents == 1 else many

    def upload_outcomes(self) -> dict[str, str]:
        """Texts for the outcomes of adding a file, by the names that the API gives them."""
        return {
            "waiting": self.uploading,
            "added": self.added,
            "updated": self.updated,
            "unchanged": self.unchanged,
            "failed": self.upload_failed,
            "folder": self.upload_folder,
        }

    def translate(self, message: str) -> str:
        """A message of the library, which is written in English."""
        return message if self is ENGLISH else _catalogue.translate(message)

    def place_label(self, location: DocumentLocation) -> str:
        """A place in a document: its page or time and its heading, as far as they are known."""
        page = "" if location.page is None else self.page.format(page=location.page)
        parts = (page, location.time, location.heading)
        return self.separator.join(part for part in parts if part)


ENGLISH = Translation(
    language="en-US",
    heading="Ask your documents",
    subheading="Every answer shows the words it rests on.",
    placeholder="Ask a question",
    question="Question",
    ask="Ask",
    searching="Looking through the documents…",
    try_example="Try one of these",
    one_document="1 document",
    many_documents="{count} documents",
    no_documents="There are no documents yet. Add some with: moli add FOLDER",
    more_documents="and {count} more",
    answer="Answer",
    unsupported="not supported",
    unsupported_hint="No document was found that says this.",
    conflict="Your documents differ on this:",
    closest="Not sure. The closest sentence in your documents:",
    missing="The closest sentence does not mention: {terms}",
    no_answer="Your documents do not answer this question.",
    no_answer_hint="Try other words, or look at the nearest passages.",
    nearest_passages="Nearest passages",
    no_passages="No passage comes close.",
    sources="Sources",
    source="Source",
    page="page {page}",
    citation="Source {number}: {title}",
    confidence="confidence {percent}%",
    made_of_quotes="quoted word for word",
    generated_by="written by {model}",
    duration="{seconds} s",
    trace_id="trace {id}",
    close="Close the source",
    excerpt_note="A long document: {first}–{last} of {total} characters are shown.",
    document_removed="This document no longer exists.",
    server_error="Something went wrong on the server. Please ask again.",
    separator=" · ",
    sign_in="Sign in",
    sign_in_hint="You need a key to use this server. Its owner can give you one.",
    key_label="Key",
    sign_in_button="Enter",
    wrong_key="That key is not valid. Check it, or ask for a new one.",
    stop="Stop",
    stopped="Stopped. No answer was stored.",
    filter="Filter by name",
    no_match="No document has such a name.",
    nothing_visible="Your key may not read any document. Ask the server's owner for access.",
    drop="Drop files here, or choose them",
    drop_hint="Everyone who may use this server will be able to read them.",
    uploading="reading…",
    added="added",
    updated="replaced the older version",
    unchanged="was there already",
    upload_failed="could not be sent",
    upload_folder="a folder cannot be sent. Drop the files in it",
    helpful="This answer is right",
    wrong="This answer is wrong",
    thanks="Thank you. Your rating is stored.",
    not_saved="Your rating could not be stored.",
    offline="The server does not answer. This page goes on by itself once it is back.",
    signed_in="signed in as {name}",
    sign_out="Sign out",
)

_catalogue = load_catalogue("zh")
CHINESE = Translation(
    language="zh-CN",
    **{
        field.name: _catalogue.template(getattr(ENGLISH, field.name))
        for field in fields(ENGLISH)
        if field.name != "language"
    },
)


def translation_for(accept_language: str) -> Translation:
    """The texts in the language a browser prefers, by its Accept-Language header.

    >>> translation_for("fr, zh-TW;q=0.8, en;q=0.5").language
    'zh-CN'
    """
    return CHINESE if requested_language(accept_language) == "zh" else ENGLISH
