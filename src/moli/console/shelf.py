"""The shelf of the page: questions to try, all documents, and a place to drop new ones."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence

from nicegui import ui

from moli.console.elements import DocumentLocation, add_button, add_container, add_text
from moli.console.source import SourcePanel
from moli.console.translations import Translation
from moli.records.documents import Document

_FIRST_DOCUMENTS = 12
_MORE_DOCUMENTS = 200  # that are added by a click


class Shelf:
    """Lists the documents that the visitor may read, filtered by words of their names.

    Args:
        can_add: whether the visitor may add documents.
        ask: called with an example that is clicked.
    """

    def __init__(
        self,
        texts: Translation,
        source: SourcePanel,
        *,
        can_add: bool,
        examples: Sequence[str],
        ask: Callable[[str], Awaitable[None]],
    ) -> None:
        self._texts, self._source = texts, source
        self._documents: Sequence[Document] = ()
        self._filter, self._limit = "", _FIRST_DOCUMENTS
        with add_container("section", "shelf") as self._element:
            self._examples = add_container("div")
            self._heading = add_container("div")
            if can_add:
                self._add_drop_zone()
            self._add_filter()
            self._list = add_container("div").props("aria-live=polite")
        with self._examples:
            self._add_examples(examples, ask)

    def set_visibility(self, *, visible: bool) -> None:
        """Show or hide the shelf."""
        self._element.set_visibility(visible)

    def show(self, documents: Sequence[Document], nothing: str) -> None:
        """List documents.

        Args:
            nothing: the text if there are none.
        """
        self._documents = documents
        self._examples.set_visibility(bool(documents))
        self._search.set_visibility(len(documents) > _FIRST_DOCUMENTS)
        self._heading.clear()
        with self._heading:
            add_text("h2", self._texts.count_label(len(documents)))
            if not documents:
                add_text("p", nothing, "quiet")
        self._show_matches()

    def _add_examples(self, examples: Sequence[str], ask: Callable[[str], Awaitable[None]]) -> None:
        """Add questions to try."""
        if not examples:
            return
        add_text("h2", self._texts.try_example)
        with add_container("div", "examples"):
            for example in examples:
                with add_button("example").on("click", lambda q=example: ask(q)):
                    add_text("span", example)

    def _add_drop_zone(self) -> None:
        """Add a field for files, whose files a script sends to the API."""
        texts = self._texts
        with add_container("label", "drop"):
            add_text("span", texts.drop)
            field = add_container("input").props("type=file multiple").classes("hidden-field")
            field.on("change", js_handler="(event) => moli.upload(event.target.files)")
            add_text("span", texts.drop_hint, "quiet")
        uploads = add_container("ul", "uploads").props("aria-live=polite")
        for outcome, text in texts.upload_outcomes().items():
            uploads.props[f"data-{outcome}"] = text

    def _add_filter(self) -> None:
        """Add a field that filters the documents as one types."""
        self._search = ui.input(placeholder=self._texts.filter, on_change=self._change_filter)
        self._search.classes("filter").props("borderless dense debounce=200 clearable")
        self._search.props["aria-label"] = self._texts.filter

    def _change_filter(self) -> None:
        """List the documents that match what was typed."""
        self._filter, self._limit = self._search.value or "", _FIRST_DOCUMENTS
        self._show_matches()

    def _show_more(self) -> None:
        """List more of the matching documents."""
        self._limit += _MORE_DOCUMENTS
        self._show_matches()

    def _show_matches(self) -> None:
        """List the first documents whose title or source has all words of the filter."""
        words = self._filter.casefold().split()
        matches = [
            document
            for document in self._documents
            if all(word in f"{document.title} {document.source}".casefold() for word in words)
        ]
        self._list.clear()
        with self._list:
            if words and not matches:
                add_text("p", self._texts.no_match, "quiet")
            with add_container("ul", "documents"):
                for document in matches[: self._limit]:
                    with add_container("li"):
                        location = DocumentLocation.of_document(document)
                        self._source.add_row(location, document.format.upper())
                        if document.warnings:
                            name = document.source.rpartition("/")[2]
                            notes = "; ".join(map(self._texts.translate, document.warnings))
                            add_text("p", f"{name}: {notes}", "remark")
            if (more := len(matches) - self._limit) > 0:
                label = self._texts.more_documents.format(count=f"{more:,}")
                with add_button("more").on("click", self._show_more):
                    add_text("span", label)
