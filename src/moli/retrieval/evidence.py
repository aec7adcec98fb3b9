"""Evidence: which sentence holds the answer, and how likely any does.

Each sentence of the retrieved passages is scored by a linear function of what search already knows
of it. A softmax over those scores and a fixed 0 for "none of them" gives the probability that each
holds the answer (a conditional logit with an outside option, McFadden 1974). What is not given to
"none" is the confidence that the documents hold the answer at all.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moli.models.embedding import Encoder
from moli.records.answers import Hit
from moli.retrieval.lexical import LexicalIndex
from moli.retrieval.sentences import sentence_spans
from moli.retrieval.tokens import Language, language_of, query_terms, tokenize

_MAX_SENTENCES = 96  # keeps the time of one answer bounded
_MAX_CHARACTERS = 600
_ASKS_NUMBER = re.compile(
    r"\bwhen\b|\bhow (?:many|much|long|old|far|often|large|tall|big)\b|\bwhat (?:year|date|percent"
    r"|number|age|time|century|decade)|多少|几|何时|什么时候|哪年|哪一年|年份|日期",
    re.IGNORECASE,
)
_NUMBER = re.compile(
    r"\d|[一二三四五六七八九十百千万亿]|\b(?:one|two|three|four|five|six|ten)\b", re.I
)

FEATURES = (
    "similarity",  # cosine of sentence and question
    "coverage",  # share of the question's terms, weighted by rarity, that the sentence has
    "nearby",  # the same, for the sentence and its neighbours
    "passage",  # the same, for the whole passage
    "rank",  # fused score of the passage, relative to the best
    "passage_similarity",  # cosine of passage and question
    "number",  # a number is asked for, and there is one (+1) or none (-1)
)

# Fitted by bench/evidence.py on training questions of SQuAD (en) and CMRC (zh), half of them with
# every passage of their article taken out of the library.
COEFFICIENTS: Mapping[Language, tuple[float, ...]] = {
    "en": (7.097, 2.487, 3.108, 2.790, 7.237, 1.186, 0.893),
    "zh": (0.0, 2.0, 1.0, 3.0, 1.0, 0.0, 0.5),
}
INTERCEPTS: Mapping[Language, float] = {"en": -18.011, "zh": -5.0}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A sentence of a passage; `start` and `end` are offsets into the document's text.

    `probability` is that it holds the answer; over the candidates of a question and "none of them"
    it sums to 1.
    """

    hit: Hit
    start: int
    end: int
    probability: float

    @property
    def text(self) -> str:
        """The sentence as it stands in the document."""
        return self.hit.text[self.start - self.hit.start : self.end - self.hit.start]


def weigh(
    question: str, hits: Sequence[Hit], encoder: Encoder, lexical: LexicalIndex
) -> list[Candidate]:
    """Sentences of the passages with the probability that each holds the answer, best first."""
    language = language_of(question)
    spans = _sentences(hits)
    if not spans:
        return []
    values = features(question, hits, spans, encoder, lexical)
    logits = values @ np.array(COEFFICIENTS[language]) + INTERCEPTS[language]
    odds = np.exp(logits)
    found = [
        Candidate(hits[index], hits[index].start + start, hits[index].start + end, probability)
        for (index, start, end), probability in zip(spans, odds / (1 + odds.sum()), strict=True)
    ]
    return sorted(found, key=lambda each: -each.probability)


def confidence(candidates: Sequence[Candidate]) -> float:
    """Probability that any of the candidates holds the answer."""
    return float(sum(each.probability for each in candidates))


def _sentences(hits: Sequence[Hit]) -> list[tuple[int, int, int]]:
    """(index of hit, start, end) of sentences worth weighing, in order of the hits."""
    return [
        (index, start, end)
        for index, hit in enumerate(hits)
        for start, end in sentence_spans(hit.text)
        if end - start <= _MAX_CHARACTERS and re.search(r"\w", hit.text[start:end])
    ][:_MAX_SENTENCES]


def features(
    question: str,
    hits: Sequence[Hit],
    spans: Sequence[tuple[int, int, int]],
    encoder: Encoder,
    lexical: LexicalIndex,
) -> NDArray[np.float64]:
    """[sentences, len(FEATURES)]."""
    rarity = lexical.rarity(query_terms(question))
    total = sum(rarity.values()) or 1.0

    def coverage(terms: set[str]) -> float:
        return sum(weight for term, weight in rarity.items() if term in terms) / total

    texts = [hits[index].text[start:end] for index, start, end in spans]
    vectors = encoder.encode([question, *texts])
    similar = vectors[1:] @ vectors[0]
    terms = [set(tokenize(text)) for text in texts]
    whole = [coverage(set(tokenize(hit.in_context))) for hit in hits]
    best = max(hit.score for hit in hits) or 1.0
    asks_number = bool(_ASKS_NUMBER.search(question))
    rows = []
    for row, (index, _, _) in enumerate(spans):
        around = [
            each
            for each in (row - 1, row, row + 1)
            if 0 <= each < len(spans) and spans[each][0] == index
        ]
        number = (1.0 if _NUMBER.search(texts[row]) else -1.0) if asks_number else 0.0
        rows.append(
            (
                float(similar[row]),
                coverage(terms[row]),
                coverage(set().union(*(terms[each] for each in around))),
                whole[index],
                hits[index].score / best,
                hits[index].dense or 0.0,
                number,
            )
        )
    return np.array(rows)
