"""Answers from documents: every quote is verified before anyone sees it.

Without a language model, the answer consists of the best sentences, quoted. A language model writes
the answer itself and must quote for each sentence; a sentence whose quote is not in the passages is
marked unsupported. Without an answer, the closest sentence is shown as what it is, if it is close
enough. Retrieved text is data: it is fenced, and no instruction in it is followed.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import PurePath

from moli.models.protocols.chat import ChatModel
from moli.records.answers import Absence, Answer, Citation, Hit, Sentence, Trace
from moli.records.documents import Document, Outline, page_at, time_at
from moli.records.errors import InputError
from moli.retrieval.absence import (
    explain_absence,
    find_absence,
    heading_of,
    missing_note,
)
from moli.retrieval.evidence import ScoredSentence, score_sentences
from moli.retrieval.grounding import Quote, QuotedSentence, grounding_prompt, parse_answer
from moli.retrieval.search import Retriever
from moli.retrieval.tokens import language_of
from moli.retrieval.versions import other_versions
from moli.workspace import Settings, Workspace
from moli.workspace.filter import Filter

SentencesCallback = Callable[[Sequence[Sentence]], None]

QUOTES = "quotes"  # the name of the model in traces of answers without a language model
_MAX_QUESTION = 4000
_MAX_QUOTES = 3
_MIN_ODDS_SHARE = 0.5  # of the best sentence's odds


class Answerer:
    """Answers questions from a workspace's documents and stores a trace of each answer.

    In a read-only workspace it stores none, and the answer's `trace_id` is "".

    Args:
        settings: in place of the workspace's.
        keeps_traces: whether traces are stored.
    """

    def __init__(
        self,
        workspace: Workspace,
        retriever: Retriever,
        chat: ChatModel | None = None,
        *,
        settings: Settings | None = None,
        keeps_traces: bool = True,
    ) -> None:
        self._retriever = retriever
        self._chat = chat
        self._settings = settings or workspace.settings
        self._traces = workspace.traces
        self._keeps_traces = keeps_traces and not workspace.database.is_read_only
        self._documents = workspace.documents
        self._passages = workspace.passages

    def ask(
        self,
        question: str,
        visible: Filter | None = None,
        tenant: str = "",
        on_sentences: SentencesCallback | None = None,
    ) -> Answer:
        """Answer a question, or state that the documents do not contain the answer.

        Args:
            visible: the documents that may be used; None for those of the settings' groups.
            tenant: the tenant who asks, to whom the trace belongs; "" for the only tenant.
            on_sentences: called several times a second while a language model writes, with the
                sentences that are complete and verified so far. An exception that it raises stops
                the model, and is raised.

        Raises:
            InputError: the question is empty or too long.
            ModelError: the language model did not answer.
        """
        question = _checked_question(question)
        visible = visible or Filter(frozenset(self._settings.groups))
        timer = _Timer()
        with timer.time("search"):
            hits = self._retriever.search(question, self._settings.passages, visible)
        with timer.time("evidence"):
            ids = {hit.document_id for hit in hits}
            documents = {each.id: each for each in self._documents.list(visible, ids)}
            hits = [hit for hit in hits if hit.document_id in documents]
            evidence = self._evidence(question, hits, documents)
        with timer.time("answer"):
            draft = _Draft(hits, documents, on_sentences) if on_sentences else None
            quoted, prompt_sha256 = self._answer_sentences(question, hits, evidence, tenant, draft)
            others = self._other_versions(question, quoted, evidence)
            sentences = self._sentences(quoted, others, documents)
        answered = any(sentence.supported for sentence in sentences)
        language = language_of(question)
        trace = Trace(
            id=uuid.uuid4().hex,
            created_at=time.time(),
            question=question,
            language=language,
            groups=tuple(sorted(visible.groups)),
            encoder=self._retriever.encoder.name,
            fusion=self._retriever.fusion(language, language),
            model=self._chat.name if self._chat else QUOTES,
            prompt_sha256=prompt_sha256,
            passages=tuple(hits),
            answered=answered,
            confidence=evidence[0].probability if evidence else 0.0,
            sentences=sentences,
            timings_ms=timer.timings,
            template_sha256=self._chat.template_sha256 if self._chat else "",
            tenant=tenant,
            closest=None if answered else self._closest(evidence, documents),
            missing=() if answered or not evidence else evidence[0].missing,
            conflict=bool(others),
        )
        return self._stored(trace, visible)

    def _evidence(
        self, question: str, hits: Sequence[Hit], documents: Mapping[int, Document]
    ) -> list[ScoredSentence]:
        """Sentences of the hits, the likeliest answer first."""
        headings = {id_: document.headings for id_, document in documents.items()}
        return score_sentences(question, hits, headings, self._retriever.encoder)

    def _stored(self, trace: Trace, visible: Filter) -> Answer:
        """The answer in a trace, which is stored if it can be."""
        absence = "" if trace.passages else find_absence(self._passages, visible)
        answer = answer_of(trace, absence or "not_in_documents", visible)
        if not self._keeps_traces:
            return replace(answer, trace_id="")
        self._traces.add(trace)
        return answer

    def _other_versions(
        self,
        question: str,
        quoted: Sequence[QuotedSentence],
        evidence: Sequence[ScoredSentence],
    ) -> list[ScoredSentence]:
        """The sentences of the evidence that disagree with the first quote of an answer."""
        first = next((sentence.quotes[0] for sentence in quoted if sentence.supported), None)
        best = next((each for each in evidence if first and _is_within(first, each)), None)
        if best is None:
            return []
        unsure, confidence = self._settings.unsure, self._settings.confidence
        return other_versions(question, best, evidence, unsure=unsure, confidence=confidence)

    def _sentences(
        self,
        quoted: Sequence[QuotedSentence],
        others: Sequence[ScoredSentence],
        documents: Mapping[int, Document],
    ) -> tuple[Sentence, ...]:
        """An answer's sentences with their citations; if others disagree, the newest first."""
        if not others:
            return tuple(_with_citations(each, documents) for each in quoted)
        others = sorted(others, key=lambda each: documents[each.hit.document_id].date, reverse=True)
        rivals = [_as_own_quote(each) for each in others[: _MAX_QUOTES - 1]]
        first = quoted if self._chat else quoted[:1]
        sentences = [_with_citations(each, documents) for each in (*first, *rivals)]
        return tuple(sorted(sentences, key=_date_of, reverse=True))

    def _closest(
        self, evidence: Sequence[ScoredSentence], documents: Mapping[int, Document]
    ) -> Sentence | None:
        """The best sentence of the evidence, unless it is too unlikely to be shown."""
        if evidence and evidence[0].probability >= self._settings.unsure:
            return _with_citations(_as_own_quote(evidence[0]), documents)
        return None

    def _answer_sentences(
        self,
        question: str,
        hits: Sequence[Hit],
        evidence: Sequence[ScoredSentence],
        tenant: str,
        draft: _Draft | None,
    ) -> tuple[list[QuotedSentence], str]:
        """The answer's sentences, none if there is no answer, and the hash of the prompt.

        The hash is "" without a language model.

        Args:
            evidence: sentences of the hits, the likeliest answer first.
        """
        if self._chat is None:
            best = next(iter(evidence), None)
            if best is None or best.missing or best.probability < self._settings.confidence:
                return [], ""
            return [_as_own_quote(sentence) for sentence in _best_sentences(evidence)], ""
        if not hits:
            return [], ""
        prompt = grounding_prompt(question, hits)
        text = self._chat.complete(
            prompt.messages(), cache_namespace=tenant, on_text=draft.append if draft else None
        )
        return parse_answer(text, hits), prompt.sha256


class _Draft:
    """An answer that a language model is writing; its complete lines are passed on as sentences."""

    def __init__(
        self,
        hits: Sequence[Hit],
        documents: Mapping[int, Document],
        on_sentences: SentencesCallback,
    ) -> None:
        self._hits, self._documents, self._on_sentences = hits, documents, on_sentences
        self._text = ""
        self._sentences: tuple[Sentence, ...] = ()

    def append(self, text: str) -> None:
        """Add a piece of text, which may be empty, and report the sentences so far."""
        self._text += text
        if "\n" in text:
            complete, _, _ = self._text.rpartition("\n")
            quoted = parse_answer(complete, self._hits)
            self._sentences = tuple(_with_citations(each, self._documents) for each in quoted)
        self._on_sentences(self._sentences)


def _as_own_quote(sentence: ScoredSentence) -> QuotedSentence:
    """A sentence of an answer that consists of one quote."""
    quote = Quote(sentence.hit, sentence.start, sentence.end)
    return QuotedSentence(sentence.text, (quote,), supported=True)


def _is_within(quote: Quote, sentence: ScoredSentence) -> bool:
    """Whether a quote is of a sentence, or of a part of it."""
    is_same = quote.hit.document_id == sentence.hit.document_id
    return is_same and max(quote.start, sentence.start) < min(quote.end, sentence.end)


def _with_citations(sentence: QuotedSentence, documents: Mapping[int, Document]) -> Sentence:
    """The sentence with citations for its quotes."""
    citations = tuple(_citation(quote, documents) for quote in sentence.quotes)
    return Sentence(sentence.text, sentence.supported, citations)


def _date_of(sentence: Sentence) -> str:
    """The date of the document that a sentence cites first; "" if it is not known."""
    return sentence.citations[0].date if sentence.citations else ""


def _citation(quote: Quote, documents: Mapping[int, Document]) -> Citation:
    """The citation of a quote, with its page and its headings."""
    hit, start, end = quote.hit, quote.start, quote.end
    document = documents[hit.document_id]
    return Citation(
        document_id=hit.document_id,
        source=hit.source,
        title=hit.title,
        heading=Outline(document.headings).path(start),
        page=page_at(document.pages, start),
        time=time_at(document.times, start),
        start=start,
        end=end,
        quote=hit.text[start - hit.start : end - hit.start],
        date=document.date,
    )


def answer_of(trace: Trace, absence: Absence, visible: Filter) -> Answer:
    """The answer in a trace.

    Args:
        absence: the reason to give if there is no answer.
        visible: the documents that could be used.
    """
    reason: Absence = absence if trace.tier == "absent" else ""
    return Answer(
        question=trace.question,
        answered=trace.answered,
        text=_text_of(trace, reason, visible),
        sentences=trace.sentences if trace.answered else (),
        confidence=trace.confidence,
        model=trace.model,
        trace_id=trace.id,
        reason=reason,
        tier=trace.tier,
        closest=trace.closest,
        missing=trace.missing,
        conflict=trace.conflict,
    )


def _text_of(trace: Trace, reason: Absence, visible: Filter) -> str:
    """The answer in a trace as one text, or what is said in its place."""
    language = language_of(trace.question)
    if trace.conflict:
        words = [heading_of(trace, language), *map(_with_source, _supported(trace))]
    elif trace.answered:
        words = [sentence.text for sentence in _supported(trace)]
    elif trace.closest:
        words = [heading_of(trace, language), f"“{trace.closest.text}”"]
    else:
        words = [explain_absence(reason, visible, language)]
    return " ".join(filter(None, (*words, missing_note(trace.missing, language))))


def _supported(trace: Trace) -> list[Sentence]:
    """The sentences of an answer that may be believed."""
    return [sentence for sentence in trace.sentences if sentence.supported]


def _with_source(sentence: Sentence) -> str:
    """A sentence with the name and the date of the document that it cites first."""
    citation = sentence.citations[0]
    origin = ", ".join(filter(None, (PurePath(citation.source).name, citation.date)))
    return f"“{sentence.text}” ({origin})"


def _checked_question(question: str) -> str:
    """The question without white space around it.

    Raises:
        InputError: it is empty or too long.
    """
    question = question.strip()
    if not question:
        raise InputError("the question is empty", fix="Ask something.")
    if len(question) > _MAX_QUESTION:
        raise InputError(
            f"the question has {len(question)} characters, more than {_MAX_QUESTION}",
            fix="Shorten it, or add longer texts as documents.",
        )
    return question


def _best_sentences(evidence: Sequence[ScoredSentence]) -> list[ScoredSentence]:
    """The sentences to quote: the best one, and at most two that are nearly as likely.

    "Nearly" is a fixed share of the best one's odds of holding the answer. Repeated sentences count
    once.
    """
    chosen: dict[str, ScoredSentence] = {}
    for sentence in evidence:
        if sentence.odds >= _MIN_ODDS_SHARE * evidence[0].odds:
            chosen.setdefault(" ".join(sentence.text.split()), sentence)
    return list(chosen.values())[:_MAX_QUOTES]


class _Timer:
    """Measures the wall time of named steps, in milliseconds."""

    def __init__(self) -> None:
        self.timings: dict[str, float] = {}

    @contextmanager
    def time(self, step: str) -> Iterator[None]:
        """Measure the time of the code in a `with` block."""
        started = time.perf_counter()
        yield
        self.timings[step] = round((time.perf_counter() - started) * 1000, 3)
