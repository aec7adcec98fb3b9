"""The panel that shows a document, with the quoted words marked."""

from __future__ import annotations

from nicegui import run, ui
from nicegui.element import Element

from moli.console.elements import Reference, button, part, said
from moli.console.excerpt import Excerpt, excerpt
from moli.console.reader import Reader
from moli.console.translations import Words
from moli.records.errors import MoliError


class SourcePanel:
    """Shows one document at a time, beside the answer.

    Args:
        root: gets the class `reading` while a document is open.
    """

    def __init__(self, reader: Reader, words: Words, root: Element) -> None:
        self._reader, self._words, self._root = reader, words, root
        self._chips: list[tuple[Reference, Element]] = []
        self._wanted: Reference | None = None
        self._panel = part("aside", "source").props(f'aria-label="{words.source}"')
        self._panel.set_visibility(False)

    def add_chip(self, reference: Reference, chip: Element) -> None:
        """Show on `chip` whether its reference is the one that is open."""
        self._chips.append((reference, chip))

    def forget_chips(self) -> None:
        self._chips.clear()

    async def open(self, reference: Reference, *, bring: bool = False) -> None:
        """Show a document; with `bring`, move the screen to it if it is out of sight."""
        self._wanted = reference
        try:
            text = await run.io_bound(self._reader.text, reference.document_id)
        except MoliError:
            text = None
        if self._wanted != reference:
            return  # another one was asked for in the meantime
        self._root.classes("reading")
        self._panel.set_visibility(True)
        self._panel.clear()
        with self._panel:
            self._head(reference)
            if text is None:
                said("p", self._words.gone, "quiet gone")
            else:
                body = self._body(excerpt(text, reference.start, reference.end))
                ui.run_javascript(f"moli.show('c{body.id}', {str(bring).lower()})")
        self._mark_open()

    def close(self) -> None:
        self._wanted = None
        self._root.classes(remove="reading")
        self._panel.set_visibility(False)
        self._panel.clear()
        self._mark_open()

    def _head(self, reference: Reference) -> None:
        with part("div", "head"):
            with part("div", "names"):
                said("h2", reference.title, "title")
                where = self._words.page_label(reference.page, reference.heading)
                if where:
                    said("p", where, "where")
                said("p", reference.source, "path")
            with button("close", label=self._words.close).on("click", self.close):
                said("span", "×").props("aria-hidden=true")

    def _body(self, shown: Excerpt) -> Element:
        if shown.is_part:
            note = self._words.part.format(
                first=f"{shown.first + 1:,}", last=f"{shown.last:,}", total=f"{shown.total:,}"
            )
            said("p", note, "quiet note")
        with part("div", "text").props("tabindex=0") as body:
            said("span", shown.before)
            if shown.marked:
                said("mark", shown.marked)
            said("span", shown.after)
        return body

    def _mark_open(self) -> None:
        for reference, chip in self._chips:
            chip.props["aria-pressed"] = "true" if reference == self._wanted else "false"
            chip.update()
