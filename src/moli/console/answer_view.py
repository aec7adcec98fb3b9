"""The answer on the page: its sentences, who wrote it, its sources, and what people think of it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from nicegui import ui

from moli.console.elements import DocumentLocation, add_button, add_container, add_text
from moli.console.source import SourcePanel
from moli.console.translations import Translation
from moli.records.answers import Citation, Sentence, Trace
from moli.retrieval.answer import QUOTES

_LISTED_PASSAGES = 5
_LONGEST_WORD = 16  # characters kept on one line with the citations after them


class AnswerView:
    """Shows one answer at a time, or how far the answer to a question is.

    Args:
        source: the panel in which its sources are opened.
    """

    def __init__(self, texts: Translation, source: SourcePanel) -> None:
        self._texts, self._source = texts, source
        self._element = add_container("section", "result").props("aria-live=polite")

    def clear(self) -> None:
        """Show nothing."""
        self._element.clear()

    def show_waiting(self, on_stop: Callable[[], None]) -> None:
        """Show for how long the question is being answered, and a button that stops it."""
        self.clear()
        with self._element:
            with add_container("p", "waiting").props("role=status"):
                add_container("span", "spinner").props("aria-hidden=true")
                add_text("span", self._texts.searching)
                elapsed = add_text("span", "", "elapsed").props("aria-hidden=true")
                with add_button("stop").on("click", on_stop):
                    add_text("span", self._texts.stop)
            self._draft = add_container("div", "answer draft")
        ui.run_javascript(f"moli.count('c{elapsed.id}')")

    def show_draft(self, sentences: Sequence[Sentence]) -> None:
        """Show the sentences that are complete while the model goes on writing."""
        numbers = _number_documents(sentences)
        self._draft.clear()
        with self._draft:
            for sentence in sentences:
                self._add_sentence(sentence, numbers)

    async def show(self, trace: Trace, seconds: float, no_answer: str) -> None:
        """Show an answer with its sources, and open the first of them.

        Args:
            no_answer: the heading if there is no answer.
        """
        shown = (trace.closest,) if trace.closest else trace.sentences if trace.answered else ()
        numbers = _number_documents(shown)
        self.clear()
        ui.run_javascript("moli.settle()")
        with self._element:
            if trace.conflict:
                add_text("h2", self._texts.conflict, "unsure")
                self._add_sentences(shown, numbers, "answer", has_origins=True)
            elif trace.answered:
                add_text("h2", self._texts.answer)
                self._add_sentences(shown, numbers, "answer")
            elif trace.closest:
                add_text("h2", self._texts.closest, "unsure")
                self._add_sentences(shown, numbers, "answer closest")
            else:
                add_text("h2", no_answer, "none")
            if trace.missing:
                terms = ", ".join(trace.missing)
                add_text("p", self._texts.missing.format(terms=terms), "missing")
            elif trace.tier == "absent" and trace.passages:
                add_text("p", self._texts.no_answer_hint, "quiet")
            self._add_facts(trace, seconds)
            self._add_thumbs(trace)
            citations = _citations(shown)
            if citations:
                self._add_sources(citations, numbers)
            if not trace.answered:
                self._add_nearest_passages(trace)
        if citations:
            await self._source.open(DocumentLocation.of_citation(citations[0]))

    def _add_sentences(
        self,
        sentences: Sequence[Sentence],
        numbers: dict[int, int],
        classes: str,
        *,
        has_origins: bool = False,
    ) -> None:
        """Add sentences with their citations, and on request with their documents' dates."""
        with add_container("div", classes):
            for sentence in sentences:
                self._add_sentence(sentence, numbers)
                if has_origins and sentence.citations:
                    citation = sentence.citations[0]
                    names = (PurePath(citation.source).name, citation.date)
                    add_text("p", self._texts.separator.join(filter(None, names)), "origin quiet")

    def _add_sentence(self, sentence: Sentence, numbers: dict[int, int]) -> None:
        """Add a sentence with its citations, or a warning if it is not supported."""
        split = _split_last_word(sentence.text)
        with add_container("p", "sentence" if sentence.supported else "sentence unsupported"):
            add_text("span", split.beginning, "words")
            with add_container("span", "last"):
                add_text("span", split.last_word, "words")
                for citation in sentence.citations:
                    self._add_citation(citation, numbers[citation.document_id])
            if not sentence.supported:
                warning = add_text("span", self._texts.unsupported, "warning")
                warning.props["title"] = self._texts.unsupported_hint

    def _add_citation(self, citation: Citation, number: int) -> None:
        """Add a button with the number of a citation's document, which opens the quote."""
        location = DocumentLocation.of_citation(citation)
        title = self._texts.citation.format(number=number, title=location.title)
        place = self._texts.place_label(location)
        label = self._texts.separator.join(each for each in (title, place) if each)
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

    def _add_thumbs(self, trace: Trace) -> None:
        """Add two buttons that send the visitor's rating of the answer to the API."""
        texts = self._texts
        with add_container("p", "thumbs"):
            for rating, label in (("up", texts.helpful), ("down", texts.wrong)):
                send = f"(event) => moli.rate(event, {json.dumps(trace.id)}, '{rating}')"
                button = add_button(f"thumb {rating}", label=label).on("click", js_handler=send)
                button.props["aria-pressed"] = "false"
                with button:
                    add_container("span", "icon")
            thanks = add_text("span", "", "thanks").props("role=status")
            thanks.props["data-thanks"], thanks.props["data-failed"] = texts.thanks, texts.not_saved

    def _add_sources(self, citations: Sequence[Citation], numbers: dict[int, int]) -> None:
        """List the documents of an answer, with their numbers and all quotes from them."""
        add_text("h2", self._texts.sources)
        marks = {document_id: str(number) for document_id, number in numbers.items()}
        quotes = [(DocumentLocation.of_citation(each), each.quote) for each in citations]
        self._add_documents(quotes, marks)

    def _add_nearest_passages(self, trace: Trace) -> None:
        """List the passages that search returned for a question without an answer."""
        add_text("h2", self._texts.nearest_passages)
        if not trace.passages:
            add_text("p", self._texts.no_passages, "quiet")
            return
        hits = trace.passages[:_LISTED_PASSAGES]
        self._add_documents([(DocumentLocation.of_hit(hit), hit.text) for hit in hits], {})

    def _add_documents(
        self, quotes: Sequence[tuple[DocumentLocation, str]], marks: Mapping[int, str]
    ) -> None:
        """List documents in the order of their first quotes, each once with all of its quotes.

        Args:
            marks: numbers to show, by the id of the document.
        """
        documents: dict[int, list[tuple[DocumentLocation, str]]] = {}
        for location, quote in quotes:
            documents.setdefault(location.document_id, []).append((location, quote))
        with add_container("ul", "sources"):
            for document_id, quotes_of_document in documents.items():
                mark = marks.get(document_id, "")
                with add_container("li"):
                    for number, (location, quote) in enumerate(quotes_of_document):
                        self._source.add_row(location, mark, quote, is_first=number == 0)

    def _open_handler(self, location: DocumentLocation) -> Callable[[], Awaitable[None]]:
        """A click handler that opens a location in the panel."""
        return lambda: self._source.visit(location)


def _citations(sentences: Sequence[Sentence]) -> list[Citation]:
    """The citations of an answer in their order, each once."""
    return list(dict.fromkeys(each for sentence in sentences for each in sentence.citations))


def _number_documents(sentences: Sequence[Sentence]) -> dict[int, int]:
    """Numbers from 1 for the documents that an answer cites, by the id of the document."""
    ids = dict.fromkeys(citation.document_id for citation in _citations(sentences))
    return {document_id: number for number, document_id in enumerate(ids, 1)}


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
