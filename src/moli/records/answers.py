"""Results of search, answers with citations, and traces: the stored records of such answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from moli.records.documents import text_with_context

# Why there is no answer or hit; "" if there is one. In the last three no document is visible: the
# library is empty, none is open to the reader's groups, or none has the attributes asked for.
Absence = Literal["", "not_in_documents", "no_documents", "no_access", "no_match"]

# What an answer is: an answer; the closest sentence, of which nothing is claimed; or neither.
Tier = Literal["answered", "unsure", "absent"]


@dataclass(frozen=True, slots=True)
class Fusion:
    """A method of fusing lexical and dense scores; `weight` is the share of the lexical score."""

    method: Literal["minmax", "zscore", "rrf"]
    weight: float


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage found by search.

    Attributes:
        start, end: offsets in characters into the document's text.
        page: page (slide, sheet) of `start`, from 1; None in formats without pages.
        score: fused score, comparable within one result only.
        lexical: BM25 score; None if the lexical index did not return the passage.
        dense: cosine similarity; None if the dense index did not return the passage.
        time: time of `start` in a recording, such as 03:12; None in other documents.
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
    time: str | None = None

    @property
    def text_with_context(self) -> str:
        """The text after its title and headings, as it is indexed."""
        return text_with_context(self.title, self.heading, self.text)


@dataclass(frozen=True, slots=True)
class Citation:
    """A verified quote: the document's text from `start` to `end`, on `page` or said at `time`.

    Attributes:
        date: the document's date; see `Document`.
    """

    document_id: int
    source: str
    title: str
    heading: str
    page: int | None
    start: int
    end: int
    quote: str
    time: str | None = None
    date: str = ""


@dataclass(frozen=True, slots=True)
class Sentence:
    """One sentence of an answer; `supported` if it has citations and all of them were verified."""

    text: str
    supported: bool
    citations: tuple[Citation, ...] = ()


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with its citations, the closest sentence, or the statement that there is neither.

    Attributes:
        answered: whether `tier` is "answered"; otherwise `text` says what there is instead.
        sentences: the answer's; empty unless answered.
        confidence: estimated probability that the documents contain the answer.
        trace_id: id of the trace, for `moli trace`; "" if none was stored.
        reason: why the tier is "absent"; "" in the others.
        closest: the closest sentence of the documents, quoted, if the tier is "unsure".
        missing: terms of the question that the closest sentence lacks; empty if answered.
        conflict: whether documents disagree; there is a sentence of each, the newest first.
    """

    question: str
    answered: bool
    text: str
    sentences: tuple[Sentence, ...]
    confidence: float
    model: str
    trace_id: str
    reason: Absence = ""
    tier: Tier = "absent"
    closest: Sentence | None = None
    missing: tuple[str, ...] = ()
    conflict: bool = False


@dataclass(frozen=True, slots=True)
class Trace:
    """Everything that is needed to account for an answer.

    Attributes:
        groups: access groups of the person who asked.
        encoder: name of the encoder of the dense index.
        model: name of the language model, or `quotes` if the answer consists of quotes.
        prompt_sha256: hash of the full prompt; empty without a language model.
        passages: the passages that the answer is based on.
        sentences: an answer's if one of them is supported; else what a model wrote in vain.
        timings_ms: wall time of each step in milliseconds.
        template_sha256: hash of the chat template; empty if it is unknown here.
        adapter: hash of the model's content; empty if it was not made here.
        tenant: the tenant who asked; no other tenant sees the trace.
        closest, missing, conflict: see `Answer`.
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
    closest: Sentence | None = None
    missing: tuple[str, ...] = ()
    conflict: bool = False

    @property
    def tier(self) -> Tier:
        """Whether there was an answer, a closest sentence or neither."""
        if self.answered:
            return "answered"
        return "unsure" if self.closest else "absent"
