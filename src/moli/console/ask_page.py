"""The elements of the page, and their behavior when someone asks a question."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from nicegui import run, ui
from nicegui.events import GenericEventArguments

from moli.console.elements import DocumentLocation, add_button, add_container, add_text
from moli.console.reader import LibraryReader
from moli.console.source import SourcePanel
from moli.console.translations import Translation
from moli.records.answers import Citation, Sentence, Trace
from moli.records.documents import Document
from moli.records.errors import MoliError
from moli.retrieval.answer import QUOTES

_LISTED_DOCUMENTS = 12
_LISTED_PASSAGES = 5
_LONGEST_WORD = 16  # characters kept on one line with the citations after them

# The question travels with the submission: while a page is still connecting, the two events of
# typing and of submitting may arrive in either order.
_SEND_QUESTION = "(event) => emit(event.target.elements.question.value)"


class AskPage:
    """The page of one visitor.

    Args:
        texts: texts of the page in the visitor's language.
        documents: documents to list while nothing has been asked.
        examples: questions to offer while nothing has been asked.
    """

    def __init__(
        self,
        reader: LibraryReader,
        texts: Translation,
        documents: Sequence[Document],
        examples: Sequence[str],
    ) -> None:
        self._reader, self._texts = reader, texts
        self._is_busy = False
        with add_container("div", "moli") as self._root:
            with add_container("header", "top"):
                add_text("span", "Moli", "brand")
                add_text("span", texts.count_label(len(documents)), "count")
            with add_container("main", "desk"):
                self._welcome = add_container("section", "welcome")
                self._add_form()
                self._notice = add_container("div", "notice").props("role=alert")
                self._result = add_container("section", "result").props("aria-live=polite")
                self._shelf = add_container("section", "shelf")
            self._source = SourcePanel(reader, texts, self._root)
        self._fill_welcome()
        self._fill_shelf(documents, examples)

    def _add_form(self) -> None:
        """Add the field for a question, and the button that submits it."""
        texts = self._texts
        form = add_container("form", "ask").props("role=search")
        with form.on("submit.prevent", self._submit, js_handler=_SEND_QUESTION):
            self._field = ui.input(placeholder=texts.placeholder).classes("question")
            self._field.props("borderless dense autofocus maxlength=4000 name=question")
            self._field.props["aria-label"] = texts.question
            self._ask_button = add_button("primary", kind="submit")
            with self._ask_button:
                add_text("span", texts.ask)

    def _fill_welcome(self) -> None:
        """Add the page's heading and subheading, shown until something is asked."""
        with self._welcome:
            add_text("h1", self._texts.heading)
            add_text("p", self._texts.subheading, "quiet")

    def _fill_shelf(self, documents: Sequence[Document], examples: Sequence[str]) -> None:
        """Offer the examples and list the documents."""
        texts = self._texts
        with self._shelf:
            if documents and examples:
                add_text("h2", texts.try_example)
                with add_container("div", "examples"):
                    for example in examples:
                        with add_button("example").on("click", lambda q=example: self.ask(q)):
                            add_text("span", example)
            add_text("h2", texts.count_label(len(documents)))
            if not documents:
                add_text("p", texts.no_documents, "quiet")
            with add_container("ul", "documents"):
                for document in documents[:_LISTED_DOCUMENTS]:
                    location = DocumentLocation.of_document(document)
                    self._add_source_row(location, document.format.upper())
            if (more := len(documents) - _LISTED_DOCUMENTS) > 0:
                add_text("p", texts.more_documents.format(count=more), "quiet")

    # Asking

    async def _submit(self, event: GenericEventArguments) -> None:
        """Answer the question in a submitted form."""
        await self.ask(str(event.args))

    async def ask(self, question: str) -> None:
        """Answer a question on the page; while one is being answered, others are ignored."""
        if self._is_busy or not question.strip():
            return
        self._field.value = question
        self._show_searching()
        message = self._texts.server_error
        try:
            started = time.perf_counter()
            trace = await run.io_bound(self._reader.ask, question)
            if trace is not None:
                message = ""
                await self._show_answer(trace, time.perf_counter() - started)
        except MoliError as error:
            message = str(error)
        finally:
            self._finish(message)

    async def show_earlier_answer(self, trace_id: str) -> None:
        """Show an answer that was given before."""
        try:
            trace = await run.io_bound(self._reader.trace, trace_id)
        except MoliError as error:
            self._finish(str(error))
            return
        if trace is not None:
            self._field.value = trace.question
            self._welcome.set_visibility(False)
            self._shelf.set_visibility(False)
            await self._show_answer(trace, sum(trace.timings_ms.values()) / 1000)

    def _show_searching(self) -> None:
        """Clear the page and show that the question is being answered."""
        self._is_busy = True
        self._ask_button.props("disabled")
        self._notice.clear()
        self._source.close()
        self._welcome.set_visibility(False)
        self._shelf.set_visibility(False)
        self._result.clear()
        with self._result, add_container("p", "waiting").props("role=status"):
            add_container("span", "spinner").props("aria-hidden=true")
            add_text("span", self._texts.searching)

    def _finish(self, error: str) -> None:
        """Allow the next question, and show an error, if any, in place of an answer."""
        self._is_busy = False
        self._ask_button.props(remove="disabled")
        self._notice.clear()
        if error:
            self._result.clear()
            with self._notice:
                add_text("p", error)

    # Showing

    async def _show_answer(self, trace: Trace, seconds: float) -> None:
        """Show an answer with its sources, and open the first of them."""
        citations = _number_citations(trace.sentences)
        self._source.forget_buttons()
        self._result.clear()
        ui.run_javascript("moli.settle()")
        with self._result:
            if trace.answered:
                add_text("h2", self._texts.answer)
            else:
                add_text("h2", self._texts.no_answer, "none")
                add_text("p", self._texts.no_answer_hint, "quiet")
            if trace.sentences:
                with add_container("div", "answer"):
                    for sentence in trace.sentences:
                        self._add_sentence(sentence, citations)
            self._add_facts(trace, seconds)
            if citations:
                self._add_sources(citations)
            if not trace.answered:
                self._add_nearest_passages(trace)
        ui.navigate.history.replace(f"/?trace={trace.id}")
        if citations:
            await self._source.open(DocumentLocation.of_citation(next(iter(citations))))

    def _add_sentence(self, sentence: Sentence, citations: dict[Citation, int]) -> None:
        """Add a sentence with its citations, or a warning if it is not supported."""
        split = _split_last_word(sentence.text)
        with add_container("p", "sentence" if sentence.supported else "sentence unsupported"):
            add_text("span", split.beginning, "words")
            with add_container("span", "last"):
                add_text("span", split.last_word, "words")
                for citation in sentence.citations:
                    self._add_citation(citation, citations[citation])
            if not sentence.supported:
                warning = add_text("span", self._texts.unsupported, "warning")
                warning.props["title"] = self._texts.unsupported_hint

    def _add_citation(self, citation: Citation, number: int) -> None:
        """Add a button with a citation's number, which opens its source."""
        location = DocumentLocation.of_citation(citation)
        title = self._texts.citation.format(number=number, title=location.title)
        page = self._texts.page_label(citation.page, citation.heading)
        label = self._texts.separator.join(each for each in (title, page) if each)
        button = add_button("chip", label=label).on("click", self._open_handler(location))
        with button:
            add_text("span", str(number))
        self._source.add_button(location, button)

    def _add_facts(self, trace: Trace, seconds: float) -> None:
        """Add a line that says who answered, how confidently, and how long it took."""
        texts = self._texts
        is_quotes = trace.model == QUOTES
        model = texts.made_of_quotes if is_quotes else texts.generated_by.format(model=trace.model)
        facts = [
            model if trace.answered else "",
            texts.confidence.format(percent=round(100 * trace.confidence)),
            texts.duration.format(seconds=f"{seconds:.2f}"),
        ]
        with add_container("p", "meta"):
            add_text("span", texts.separator.join(fact for fact in facts if fact))
            add_text("span", texts.trace_id.format(id=trace.id), "trace")

    def _add_sources(self, citations: dict[Citation, int]) -> None:
        """List the citations of an answer with their numbers and quotes."""
        add_text("h2", self._texts.sources)
        with add_container("ul", "sources"):
            for citation, number in citations.items():
                location = DocumentLocation.of_citation(citation)
                self._add_source_row(location, str(number), citation.quote)

    def _add_nearest_passages(self, trace: Trace) -> None:
        """List the passages that search returned for a question without an answer."""
        add_text("h2", self._texts.nearest_passages)
        if not trace.passages:
            add_text("p", self._texts.no_passages, "quiet")
        with add_container("ul", "sources"):
            for hit in trace.passages[:_LISTED_PASSAGES]:
                self._add_source_row(DocumentLocation.of_hit(hit), "", hit.text)

    def _add_source_row(self, location: DocumentLocation, mark: str, quote: str = "") -> None:
        """Add a row that opens a source: its number or format, its title, its quote."""
        with add_container("li"):
            row = add_button("entry").on("click", self._open_handler(location))
            with row:
                if mark:
                    add_text("span", mark, "mark")
                with add_container("span", "what"):
                    add_text("span", location.title, "title")
                    page = self._texts.page_label(location.page, location.heading)
                    if page:
                        add_text("span", page, "where")
                    if quote:
                        add_text("span", " ".join(quote.split()), "quote")
            self._source.add_button(location, row)

    def _open_handler(self, location: DocumentLocation) -> Callable[[], Awaitable[None]]:
        """A click handler that opens a location in the panel."""
        return lambda: self._source.open(location, scroll_to=True)


def _number_citations(sentences: Sequence[Sentence]) -> dict[Citation, int]:
    """The citations of an answer, numbered in order from 1."""
    citations = dict.fromkeys(each for sentence in sentences for each in sentence.citations)
    return {citation: number for number, citation in enumerate(citations, 1)}


@dataclass(frozen=True, slots=True)
class _SplitSentence:
    """A sentence without its last word, and that word, with which the citations share a line."""

    beginning: str
    last_word: str


def _split_last_word(text: str) -> _SplitSentence:
    """Split a sentence before its last word, or within it if it is very long."""
    word = text.split()[-1] if text.split() else ""
    cut = len(text.rstrip()) - min(len(word), _LONGEST_WORD)
    return _SplitSentence(text[:cut], text[cut:].rstrip())
