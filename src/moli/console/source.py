"""The panel that shows a document, with a quote highlighted in it."""

from __future__ import annotations

from dataclasses import dataclass

from nicegui import run, ui
from nicegui.element import Element

from moli.console.elements import DocumentLocation, add_button, add_container, add_text
from moli.console.excerpt import Excerpt, excerpt
from moli.console.reader import LibraryReader
from moli.console.translations import Translation
from moli.records.errors import MoliError


@dataclass(frozen=True, slots=True)
class _LocationButton:
    """A button of the page that opens a location."""

    location: DocumentLocation
    button: Element


class SourcePanel:
    """Shows one document at a time, next to the answer.

    Args:
        root: gets the class `reading` while a document is open.
    """

    def __init__(self, reader: LibraryReader, texts: Translation, root: Element) -> None:
        self._reader, self._texts, self._root = reader, texts, root
        self._buttons: list[_LocationButton] = []
        self._location: DocumentLocation | None = None  # the one that is open or being opened
        self._visited: list[DocumentLocation] = []  # entries of the browser's history, by number
        self._panel = add_container("section", "source").props(f'aria-label="{texts.source}"')
        self._panel.set_visibility(False)

    def add_button(self, location: DocumentLocation, button: Element) -> None:
        """Keep a button pressed while its location is open."""
        self._buttons.append(_LocationButton(location, button))

    def add_row(
        self, location: DocumentLocation, mark: str, quote: str = "", *, is_first: bool = True
    ) -> None:
        """Add a row that opens a location.

        Args:
            mark: the number or the format of the document; "" for none.
            is_first: False below another row of the same document, whose title is not repeated.
        """
        row = add_button("entry").on("click", lambda: self.visit(location))
        with row:
            if mark:
                add_text("span", mark if is_first else "", "mark" if is_first else "mark blank")
            with add_container("span", "what"):
                if is_first:
                    add_text("span", location.title, "title")
                if place := self._texts.place_label(location):
                    add_text("span", place, "where")
                if quote:
                    add_text("span", " ".join(quote.split()), "quote")
        self.add_button(location, row)

    async def visit(self, location: DocumentLocation) -> None:
        """Show a document that somebody chose, as an entry of the browser's history."""
        self._visited.append(location)
        ui.run_javascript(f"moli.rememberSource({len(self._visited) - 1})")
        await self.open(location, scroll_to=True)

    async def show_visited(self, number: int) -> None:
        """Show the document of an entry of the browser's history; none if there is no such one."""
        if 0 <= number < len(self._visited):
            await self.open(self._visited[number], scroll_to=True)
        else:
            self.close()

    async def open(self, location: DocumentLocation, *, scroll_to: bool = False) -> None:
        """Show a document; with `scroll_to`, scroll the page to the panel if it is out of sight."""
        self._location = location
        try:
            text = await run.io_bound(self._reader.text, location.document_id)
        except MoliError:
            text = None
        if self._location != location:
            return  # another one was opened in the meantime
        self._root.classes("reading")
        self._panel.set_visibility(True)
        self._panel.clear()
        with self._panel:
            self._add_head(location)
            if text is None:
                add_text("p", self._texts.document_removed, "quiet gone")
            else:
                body = self._add_body(excerpt(text, location.start, location.end))
                ui.run_javascript(f"moli.show('c{body.id}', {str(scroll_to).lower()})")
        self._update_buttons()

    def close(self) -> None:
        """Hide the panel, with whatever document is open in it."""
        self._location = None
        self._root.classes(remove="reading")
        self._panel.set_visibility(False)
        self._panel.clear()
        self._update_buttons()

    def _add_head(self, location: DocumentLocation) -> None:
        """Add the document's title, place and path, and a button that closes the panel."""
        with add_container("div", "head"):
            with add_container("div", "names"):
                add_text("h2", location.title, "title")
                if place := self._texts.place_label(location):
                    add_text("p", place, "where")
                add_text("p", location.source, "path")
            button = add_button("close", label=self._texts.close)
            with button.on("click", js_handler="() => moli.closeSource()"):
                add_text("span", "×").props("aria-hidden=true")

    def _add_body(self, part: Excerpt) -> Element:
        """Add the text of the document, with a note if only a part of it is shown."""
        if part.is_part:
            note = self._texts.excerpt_note.format(
                first=f"{part.first + 1:,}", last=f"{part.last:,}", total=f"{part.total:,}"
            )
            add_text("p", note, "quiet note")
        with add_container("div", "text").props("tabindex=0") as body:
            add_text("span", part.before)
            if part.marked:
                add_text("mark", part.marked)
            add_text("span", part.after)
        return body

    def _update_buttons(self) -> None:
        """Show on each button whether its location is open."""
        self._buttons = [each for each in self._buttons if not each.button.is_deleted]
        for known in self._buttons:
            is_open = known.location == self._location
            known.button.props["aria-pressed"] = "true" if is_open else "false"
            known.button.update()
