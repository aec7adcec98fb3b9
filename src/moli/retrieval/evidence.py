"""Evidence: which sentence holds the answer, and how likely any does.

Each sentence of the retrieved passages gets a probability by logistic regression on what search
already knows of it. The regression is scaled (Platt 1999) so that the best sentence's probability
is that of the documents holding the answer at all: the confidence of the whole answer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moli.models.protocols.encoder import Encoder
from moli.records.answers import Hit
from moli.records.documents import Heading, Outline
from moli.retrieval.lexical import LexicalIndex
from moli.retrieval.sentences import sentence_spans
from moli.retrieval.tokens import Language, key_terms, language_of, tokenize

_MAX_SENTENCES = 96  # keeps the time of one answer bounded
_MAX_CHARACTERS = 600
_ASKS_NUMBER = re.compile(
    r"\bwhen\b|\bhow (?:many|much|long|old|far|often|large|tall|big)\b|\bwhat (?:year|date|percent"
    r"|number|age|time|century|decade)|多少|多久|多长|多大|多远|几|何时|什么时候|哪年|哪一年|年份|日期",
    re.IGNORECASE,
)
_NUMBER = re.compile(
    r"\d|[一二三四五六七八九十百千万亿]|\b(?:one|two|three|four|five|six|ten)\b", re.I
)

FEATURES = (
    "similarity",  # cosine of sentence and question
    "coverage",  # share of the question's terms, weighted by rarity, that the sentence has
    "nearby",  # the same, for the sentence, its neighbours and headings
    "passage",  # the same, for the whole passage
    "rank",  # fused score of the passage, relative to the best
    "passage_similarity",  # cosine of passage and question
    "number",  # a number is asked for, and there is one (+1) or none (-1)
)

# Fitted by bench/evidence.py on training questions of SQuAD (en) and CMRC (zh), two thirds of them
# without an answer in the library. The built-in encoder does not read Chinese: with its similarity,
# the best Chinese sentence is right in .64 of cases, without it in .70.
COEFFICIENTS: Mapping[Language, tuple[float, ...]] = {
    "en": (7.111, 3.604, 1.474, 1.777, 2.518, 0.316, 0.831),
    "zh": (0.0, 4.075, 3.427, 1.419, 0.071, 0.0, 0.448),
}
INTERCEPTS: Mapping[Language, float] = {"en": -11.234, "zh": -5.671}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sentence of a passage; `start` and `end` are offsets into the document's text."""

    hit: Hit
    start: int
    end: int
    probability: float

    @property
    def text(self) -> str:
        """The sentence as it stands in the document."""
        return self.hit.text[self.start - self.hit.start : self.end - self.hit.start]


Headings = Mapping[int, Sequence[Heading]]  # of each document, by its id


def weigh(
    question: str, hits: Sequence[Hit], headings: Headings, encoder: Encoder, lexical: LexicalIndex
) -> list[Candidate]:
    """Sentences of the passages with the probability that each holds the answer, best first."""
    language = language_of(question)
    spans = sentences(hits, headings)
    if not spans:
        return []
    values = features(question, hits, spans, headings, encoder, lexical)
    logits = values @ np.array(COEFFICIENTS[language]) + INTERCEPTS[language]
    probabilities = 1 / (1 + np.exp(-logits))
    found = [
        Candidate(
            hits[index], hits[index].start + start, hits[index].start + end, float(probability)
        )
        for (index, start, end), probability in zip(spans, probabilities, strict=True)
    ]
    return sorted(found, key=lambda each: -each.probability)


def sentences(hits: Sequence[Hit], headings: Headings) -> list[tuple[int, int, int]]:
    """(index of hit, start, end) of sentences worth weighing, in order of the hits.

    A heading asks more than it answers, and so does a question: they are not candidates, but count
    in favour of what is below them.
    """
    starts = {number: {each.offset for each in of} for number, of in headings.items()}
    return [
        (index, start, end)
        for index, hit in enumerate(hits)
        for start, end in sentence_spans(hit.text)
        if end - start <= _MAX_CHARACTERS
        and re.search(r"\w", hit.text[start:end])
        and not hit.text[start:end].rstrip("*_ ”\"'").endswith(("?", "？"))
        and hit.start + start not in starts[hit.document_id]
    ][:_MAX_SENTENCES]


def _similarity(question: str, texts: Sequence[str], encoder: Encoder) -> NDArray[np.float32]:
    """Cosine of the question and each text."""
    vectors = encoder.encode([question, *texts])
    similar: NDArray[np.float32] = vectors[1:] @ vectors[0]
    return similar


def features(
    question: str,
    hits: Sequence[Hit],
    spans: Sequence[tuple[int, int, int]],
    headings: Headings,
    encoder: Encoder,
    lexical: LexicalIndex,
) -> NDArray[np.float64]:
    """[sentences, len(FEATURES)]."""
    rarity = lexical.rarity(key_terms(question))
    total = sum(rarity.values()) or 1.0

    def coverage(terms: set[str]) -> float:
        return sum(weight for term, weight in rarity.items() if term in terms) / total

    texts = [hits[index].text[start:end] for index, start, end in spans]
    # Neither cosine counts in a language that the encoder does not read; there, none is computed.
    reads = bool(COEFFICIENTS[language_of(question)][0])
    similar = _similarity(question, texts, encoder) if reads else np.zeros(len(texts))
    terms = [set(tokenize(text)) for text in texts]
    whole = [coverage(set(tokenize(hit.text_with_context))) for hit in hits]
    best = max(hit.score for hit in hits) or 1.0
    outlines = {number: Outline(of) for number, of in headings.items()}
    asks_number = bool(_ASKS_NUMBER.search(question))
    rows = []
    for row, (index, start, _) in enumerate(spans):
        hit = hits[index]
        around = set(tokenize(outlines[hit.document_id].path(hit.start + start)))
        for each in (row - 1, row, row + 1):
            if 0 <= each < len(spans) and spans[each][0] == index:
                around |= terms[each]
        number = (1.0 if _NUMBER.search(texts[row]) else -1.0) if asks_number else 0.0
        rows.append(
            (
                float(similar[row]),
                coverage(terms[row]),
                coverage(around),
                whole[index],
                hit.score / best,
                (hit.dense or 0.0) if reads else 0.0,
                number,
            )
        )
    return np.array(rows)
