"""Answers from documents: every quote is verified before anyone sees it.

Without a language model, the answer is the best sentences, quoted. With one, the model words the
answer and must quote for each sentence; a sentence whose quote does not stand in its passage is
marked unsupported. Retrieved text is data: it is fenced, and nothing in it is obeyed.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from moli.models.protocols.chat import ChatModel
from moli.records.answers import Answer, Citation, Hit, Sentence, Trace
from moli.records.documents import Document, Outline, page_at
from moli.records.errors import InputError
from moli.retrieval.evidence import Candidate, weigh
from moli.retrieval.grounding import Quote, Read, grounding_prompt, read_answer
from moli.retrieval.search import Retriever
from moli.retrieval.tokens import language_of
from moli.workspace import Workspace
from moli.workspace.filter import Filter

QUOTES = "quotes"  # what a trace names as its model when none was used
_NO_ANSWER = {
    "en": "Your documents do not answer this question.",
    "zh": "文档中没有这个问题的答案。",
}
_MAX_QUESTION = 4000
_MAX_QUOTES = 3
_CLOSE_TO_BEST = 0.5  # share of the best sentence's odds


class Answerer:
    """Answers questions from a workspace's documents and keeps a trace of each."""

    def __init__(
        self, workspace: Workspace, retriever: Retriever, chat: ChatModel | None = None
    ) -> None:
        self._retriever = retriever
        self._chat = chat
        self._settings = workspace.settings
        self._traces = workspace.traces
        self._documents = workspace.documents

    def ask(self, question: str, visible: Filter | None = None, tenant: str = "") -> Answer:
        """Answer a tenant's question, or say that the documents do not hold the answer.

        Raises:
            InputError: the question is empty or too long.
            ModelError: the language model did not answer.
        """
        question = _checked(question)
        visible = visible or Filter(frozenset(self._settings.groups))
        clock = _Clock()
        with clock.time("search"):
            hits = self._retriever.search(question, self._settings.passages, visible)
        with clock.time("evidence"):
            found = {hit.document_id for hit in hits}
            documents = {each.id: each for each in self._documents.list(visible, found)}
            hits = [hit for hit in hits if hit.document_id in documents]
            headings = {number: each.headings for number, each in documents.items()}
            lexical = self._retriever.indexes.lexical
            evidence = weigh(question, hits, headings, self._retriever.encoder, lexical)
        with clock.time("answer"):
            read, prompt_sha256 = self._sentences(question, hits, evidence, tenant)
            sentences = tuple(
                Sentence(text, supported, tuple(_cite(each, documents) for each in quotes))
                for text, quotes, supported in read
            )
        language = language_of(question)
        trace = Trace(
            id=uuid.uuid4().hex,
            created_at=time.time(),
            question=question,
            language=language,
            groups=tuple(sorted(visible.groups)),
            encoder=self._retriever.encoder.name,
            fusion=self._retriever.fusion(language),
            model=self._chat.name if self._chat else QUOTES,
            prompt_sha256=prompt_sha256,
            passages=tuple(hits),
            answered=any(sentence.supported for sentence in sentences),
            confidence=evidence[0].probability if evidence else 0.0,
            sentences=sentences,
            timings_ms=clock.timings,
            template_sha256=self._chat.template_sha256 if self._chat else "",
            tenant=tenant,
        )
        self._traces.add(trace)
        return answer_of(trace)

    def _sentences(
        self, question: str, hits: Sequence[Hit], evidence: Sequence[Candidate], tenant: str
    ) -> tuple[list[Read], str]:
        """The answer's sentences, and the hash of the prompt if a model worded them."""
        if self._chat is None:
            if not evidence or evidence[0].probability < self._settings.confidence:
                return [], ""
            best = _close_to_first(evidence)
            return [(each.text, [(each.hit, each.start, each.end)], True) for each in best], ""
        if not hits:
            return [], ""
        prompt = grounding_prompt(question, hits)
        said = self._chat.complete(prompt.messages(), cache_namespace=tenant)
        return read_answer(said, hits), prompt.sha256


def _cite(quote: Quote, documents: Mapping[int, Document]) -> Citation:
    hit, start, end = quote
    document = documents[hit.document_id]
    return Citation(
        document_id=hit.document_id,
        source=hit.source,
        title=hit.title,
        heading=Outline(document.headings).path(start),
        page=page_at(document.pages, start),
        start=start,
        end=end,
        quote=hit.text[start - hit.start : end - hit.start],
    )


def answer_of(trace: Trace) -> Answer:
    """The answer that a trace accounts for."""
    text = " ".join(sentence.text for sentence in trace.sentences if sentence.supported)
    return Answer(
        question=trace.question,
        answered=trace.answered,
        text=text if trace.answered else _NO_ANSWER[language_of(trace.question)],
        sentences=trace.sentences,
        confidence=trace.confidence,
        model=trace.model,
        trace_id=trace.id,
    )


def _checked(question: str) -> str:
    question = question.strip()
    if not question:
        raise InputError("the question is empty", fix="Ask something.")
    if len(question) > _MAX_QUESTION:
        raise InputError(
            f"the question has {len(question)} characters, more than {_MAX_QUESTION}",
            fix="Shorten it, or add longer texts as documents.",
        )
    return question


def _close_to_first(candidates: Sequence[Candidate]) -> list[Candidate]:
    """The best sentence and at most two that come close to it; the same words only once."""
    chosen: dict[str, Candidate] = {}
    for each in candidates:
        if _odds(each) >= _CLOSE_TO_BEST * _odds(candidates[0]):
            chosen.setdefault(" ".join(each.text.split()), each)
    return list(chosen.values())[:_MAX_QUOTES]


def _odds(candidate: Candidate) -> float:
    return candidate.probability / (1 - candidate.probability + 1e-9)


class _Clock:
    """Wall time of named steps, in milliseconds."""

    def __init__(self) -> None:
        self.timings: dict[str, float] = {}

    @contextmanager
    def time(self, step: str) -> Iterator[None]:
        begun = time.perf_counter()
        yield
        self.timings[step] = round((time.perf_counter() - begun) * 1000, 3)
