"""What search and answering return, and the trace that makes an answer accountable."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from moli.records.documents import in_context


@dataclass(frozen=True, slots=True)
class Fusion:
    """How lexical and dense scores become one: `weight` is the share of the lexical side."""

    method: Literal["minmax", "zscore", "rrf"]
    weight: float


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage found by search.

    Attributes:
        start, end: offsets in characters into the document's text.
        page: page (slide, sheet) of `start`, from 1; None in formats without pages.
        score: fused score, comparable within one result only.
        lexical: BM25 score, None if that side did not find the passage.
        dense: cosine similarity, None if that side did not find the passage.
    """

    passage_id: int
    document_id: int
    source: str
    title: str
    heading: str
    page: int | None
    start: int
    end: int
    text: str
    score: float
    lexical: float | None = None
    dense: float | None = None

    @property
    def in_context(self) -> str:
        """The text led by title and headings, as the indexes see it."""
        return in_context(self.title, self.heading, self.text)


@dataclass(frozen=True, slots=True)
class Citation:
    """A verified quote: the document's text at `start:end` is `quote`, on `page`."""

    document_id: int
    source: str
    title: str
    heading: str
    page: int | None
    start: int
    end: int
    quote: str


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of an answer. It is supported when every one of its citations was verified."""

    text: str
    supported: bool
    citations: tuple[Citation, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with its sources, or the statement that the documents do not hold one.

    Attributes:
        answered: False when the documents do not hold the answer; `text` then says so.
        confidence: estimated probability that the documents hold the answer.
        trace_id: what `moli trace` takes.
    """

    question: str
    answered: bool
    text: str
    sentences: tuple[Sentence, ...]
    confidence: float
    model: str
    trace_id: str


@dataclass(frozen=True, slots=True)
class Trace:
    """All that is needed to account for an answer.

    Attributes:
        prompt_sha256: hash of the full prompt; empty without a language model.
        template_sha256: of the chat template it was written with, as far as that is known here.
        adapter: hash of the model's content, where it was made here.
        tenant: who asked; a trace is never another tenant's.
        timings_ms: wall time of each step in milliseconds.
    """

    id: str
    created_at: float
    question: str
    language: str
    groups: tuple[str, ...]
    encoder: str
    fusion: Fusion
    model: str
    prompt_sha256: str
    passages: tuple[Hit, ...]
    answered: bool
    confidence: float
    sentences: tuple[Sentence, ...]
    timings_ms: Mapping[str, float] = field(default_factory=dict)
    template_sha256: str = ""
    adapter: str = ""
    tenant: str = ""
