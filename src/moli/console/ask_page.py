"""What is on the page, and what happens when someone asks."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence

from nicegui import run, ui
from nicegui.events import GenericEventArguments

from moli.console.elements import Reference, button, part, said
from moli.console.reader import Reader
from moli.console.source import SourcePanel
from moli.console.translations import Words
from moli.records.answers import Citation, Sentence, Trace
from moli.records.documents import Document
from moli.records.errors import MoliError
from moli.retrieval.answer import QUOTES

_LISTED_DOCUMENTS = 12
_LISTED_PASSAGES = 5
_LONGEST_WORD = 16  # characters kept on one line with the numbers after them

# The question travels with the submission: while a page is still connecting, the two events of
# typing and of submitting may arrive in either order.
_SEND_QUESTION = "(event) => emit(event.target.elements.question.value)"


class Desk:
    """One visitor's page."""

    def __init__(
        self,
        reader: Reader,
        words: Words,
        documents: Sequence[Document],
        examples: Sequence[str],
    ) -> None:
        self._reader, self._words = reader, words
        self._busy = False
        with part("div", "moli") as self._root:
            with part("header", "top"):
                said("span", "Moli", "brand")
                said("span", words.count_label(len(documents)), "count")
            with part("main", "desk"):
                self._welcome = part("section", "welcome")
                self._form()
                self._notice = part("div", "notice").props("role=alert")
                self._result = part("section", "result").props("aria-live=polite")
                self._shelf = part("section", "shelf")
            self._source = SourcePanel(reader, words, self._root)
        self._fill_welcome(documents, examples)

    def _form(self) -> None:
        words = self._words
        form = part("form", "ask").props("role=search")
        with form.on("submit.prevent", self._submit, js_handler=_SEND_QUESTION):
            self._field = ui.input(placeholder=words.placeholder).classes("question")
            self._field.props("borderless dense autofocus maxlength=4000 name=question")
            self._field.props["aria-label"] = words.question
            self._ask = button("primary", kind="submit")
            with self._ask:
                said("span", words.ask)

    def _fill_welcome(self, documents: Sequence[Document], examples: Sequence[str]) -> None:
        words = self._words
        with self._welcome:
            said("h1", words.heading)
            said("p", words.promise, "quiet")
        with self._shelf:
            if documents and examples:
                said("h2", words.try_one)
                with part("div", "examples"):
                    for example in examples:
                        with button("example").on("click", lambda q=example: self.ask(q)):
                            said("span", example)
            said("h2", words.count_label(len(documents)))
            if not documents:
                said("p", words.no_documents, "quiet")
            with part("ul", "documents"):
                for document in documents[:_LISTED_DOCUMENTS]:
                    self._row(Reference.of_document(document), document.format.upper())
            if (more := len(documents) - _LISTED_DOCUMENTS) > 0:
                said("p", words.more_documents.format(count=more), "quiet")

    # Asking

    async def _submit(self, event: GenericEventArguments) -> None:
        await self.ask(str(event.args))

    async def ask(self, question: str) -> None:
        """Answer a question on the page; while one is being answered, others are ignored."""
        if self._busy or not question.strip():
            return
        self._field.value = question
        self._begin()
        message = self._words.failed
        try:
            began = time.perf_counter()
            trace = await run.io_bound(self._reader.ask, question)
            if trace is not None:
                message = ""
                await self._show(trace, time.perf_counter() - began)
        except MoliError as error:
            message = str(error)
        finally:
            self._end(message)

    async def recall(self, trace_id: str) -> None:
        """Show an answer that was given before."""
        try:
            trace = await run.io_bound(self._reader.trace, trace_id)
        except MoliError as error:
            self._end(str(error))
            return
        if trace is not None:
            self._field.value = trace.question
            self._welcome.set_visibility(False)
            self._shelf.set_visibility(False)
            await self._show(trace, sum(trace.timings_ms.values()) / 1000)

    def _begin(self) -> None:
        self._busy = True
        self._ask.props("disabled")
        self._notice.clear()
        self._source.close()
        self._welcome.set_visibility(False)
        self._shelf.set_visibility(False)
        self._result.clear()
        with self._result, part("p", "waiting").props("role=status"):
            part("span", "spinner").props("aria-hidden=true")
            said("span", self._words.asking)

    def _end(self, message: str) -> None:
        self._busy = False
        self._ask.props(remove="disabled")
        self._notice.clear()
        if message:
            self._result.clear()
            with self._notice:
                said("p", message)

    # Showing

    async def _show(self, trace: Trace, seconds: float) -> None:
        citations = _numbered(trace.sentences)
        self._source.forget_chips()
        self._result.clear()
        ui.run_javascript("moli.settle()")
        with self._result:
            if trace.answered:
                said("h2", self._words.answer)
            else:
                said("h2", self._words.no_answer, "none")
                said("p", self._words.no_answer_hint, "quiet")
            if trace.sentences:
                with part("div", "answer"):
                    for sentence in trace.sentences:
                        self._sentence(sentence, citations)
            self._meta(trace, seconds)
            if citations:
                said("h2", self._words.sources)
                with part("ul", "sources"):
                    for citation, number in citations.items():
                        self._row(Reference.of_citation(citation), str(number), citation.quote)
            if not trace.answered:
                self._nearest(trace)
        ui.navigate.history.replace(f"/?trace={trace.id}")
        if citations:
            await self._source.open(Reference.of_citation(next(iter(citations))))

    def _sentence(self, sentence: Sentence, citations: dict[Citation, int]) -> None:
        most, last = _parted(sentence.text)
        with part("p", "sentence" if sentence.supported else "sentence unsupported"):
            said("span", most, "words")
            with part("span", "last"):
                said("span", last, "words")
                for citation in sentence.citations:
                    self._chip(citation, citations[citation])
            if not sentence.supported:
                warning = said("span", self._words.unsupported, "warning")
                warning.props["title"] = self._words.unsupported_hint

    def _chip(self, citation: Citation, number: int) -> None:
        reference = Reference.of_citation(citation)
        title = self._words.citation.format(number=number, title=reference.title)
        where = self._words.page_label(citation.page, citation.heading)
        label = self._words.separator.join(each for each in (title, where) if each)
        chip = button("chip", label=label).on("click", self._opener(reference))
        with chip:
            said("span", str(number))
        self._source.add_chip(reference, chip)

    def _meta(self, trace: Trace, seconds: float) -> None:
        words = self._words
        model = words.quoted if trace.model == QUOTES else words.worded.format(model=trace.model)
        facts = [
            model if trace.answered else "",
            words.confidence.format(percent=round(100 * trace.confidence)),
            words.took.format(seconds=f"{seconds:.2f}"),
        ]
        with part("p", "meta"):
            said("span", words.separator.join(fact for fact in facts if fact))
            said("span", words.trace.format(id=trace.id), "trace")

    def _nearest(self, trace: Trace) -> None:
        said("h2", self._words.nearest)
        if not trace.passages:
            said("p", self._words.nothing_near, "quiet")
        with part("ul", "sources"):
            for hit in trace.passages[:_LISTED_PASSAGES]:
                self._row(Reference.of_hit(hit), "", hit.text)

    def _row(self, reference: Reference, mark: str, quote: str = "") -> None:
        """A line of a list that opens a source: its number or format, its title, its words."""
        with part("li"):
            entry = button("entry").on("click", self._opener(reference))
            with entry:
                if mark:
                    said("span", mark, "mark")
                with part("span", "what"):
                    said("span", reference.title, "title")
                    where = self._words.page_label(reference.page, reference.heading)
                    if where:
                        said("span", where, "where")
                    if quote:
                        said("span", " ".join(quote.split()), "quote")
            self._source.add_chip(reference, entry)

    def _opener(self, reference: Reference) -> Callable[[], Awaitable[None]]:
        return lambda: self._source.open(reference, bring=True)


def _numbered(sentences: Sequence[Sentence]) -> dict[Citation, int]:
    """The citations of an answer, numbered in order from 1."""
    cited = dict.fromkeys(each for sentence in sentences for each in sentence.citations)
    return {citation: number for number, citation in enumerate(cited, 1)}


def _parted(text: str) -> tuple[str, str]:
    """A sentence without its last word, and that word: the numbers of sources stay beside it."""
    word = text.split()[-1] if text.split() else ""
    cut = len(text.rstrip()) - min(len(word), _LONGEST_WORD)
    return text[:cut], text[cut:].rstrip()
