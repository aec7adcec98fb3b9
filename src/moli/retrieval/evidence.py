"""Evidence: for each sentence of the retrieved passages, the probability that it has the answer.

A logistic regression computes the probability from `FEATURES` of the sentence and its passage, such
as similarity to the question and rank. It was fitted (Platt 1999) on questions with and without an
answer in the documents. So the highest probability of all sentences also estimates whether the
documents contain the answer, and is the confidence of the whole answer.
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
from moli.retrieval.chinese import to_simplified
from moli.retrieval.lexical import LexicalIndex
from moli.retrieval.sentences import sentence_spans
from moli.retrieval.tokens import Language, fold, key_terms, language_of, tokenize

_MAX_SENTENCES = 96  # bounds the time of one answer
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
    "coverage",  # share of the question's terms, weighted by IDF, that the sentence has
    "nearby",  # the same for the sentence, its neighbors and headings
    "passage",  # the same for the whole passage
    "rank",  # fused score of the passage, relative to the best
    "passage_similarity",  # cosine of passage and question
    "number",  # if the question asks for a number: whether there is one (+1) or none (-1)
)


@dataclass(frozen=True, slots=True)
class EvidenceModel:
    """A logistic regression on `FEATURES`."""

    weights: tuple[float, ...]
    intercept: float

    @property
    def uses_encoder(self) -> bool:
        """Whether a cosine counts."""
        similarity = FEATURES.index("similarity")
        return self.weights[similarity] != 0


# Cosines of different encoders mean different things, so each encoder has its own models, by
# language. Fitted by bench/evidence.py on training questions of SQuAD (en) and CMRC (zh), two
# thirds of them without an answer in the library.
_MODELS: Mapping[str, Mapping[Language, EvidenceModel]] = {
    # It does not read Chinese: with its similarity, the best Chinese sentence is right in .64 of
    # cases, without it in .70.
    "builtin:minilm": {
        "en": EvidenceModel((7.111, 3.604, 1.474, 1.777, 2.518, 0.316, 0.831), -11.234),
        "zh": EvidenceModel((0.0, 4.075, 3.427, 1.419, 0.071, 0.0, 0.448), -5.671),
    },
    "e5": {
        "en": EvidenceModel((10.912, 4.305, 2.607, -0.097, 1.868, 13.028, 0.995), -26.610),
        "zh": EvidenceModel((17.967, 3.232, 7.480, -1.742, -1.280, 31.228, 0.785), -47.847),
    },
}
# Of an encoder that is not known here, what its cosines mean is not known either. And of two
# languages, they tell too little: of 240 questions on the documentation in the other language, a
# sentence that answers was told from others hardly better than by chance (AUC .55).
_WORDS: Mapping[Language, EvidenceModel] = {
    "en": EvidenceModel((0.0, 4.933, 2.132, 0.607, 2.478, 0.0, 0.902), -7.432),
    "zh": EvidenceModel((0.0, 4.146, 3.899, 0.922, 1.074, 0.0, 0.613), -6.575),
}


def evidence_model(encoder: str, language: Language, passage_language: Language) -> EvidenceModel:
    """The model for an encoder, and the languages of a question and a passage."""
    models = _MODELS.get(encoder, _WORDS) if language == passage_language else _WORDS
    return models[language]


@dataclass(frozen=True, slots=True)
class SentenceSpan:
    """A sentence of a passage.

    Attributes:
        hit: index of the passage among the hits.
        start, end: offsets into the passage's text.
    """

    hit: int
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class ScoredSentence:
    """A sentence of a passage with the probability that it contains the answer.

    Attributes:
        start, end: offsets into the document's text.
        missing: terms of the question without which the sentence is no answer, and which it lacks.
    """

    hit: Hit
    start: int
    end: int
    probability: float
    missing: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The sentence as it stands in the document."""
        return self.hit.text[self.start - self.hit.start : self.end - self.hit.start]

    @property
    def odds(self) -> float:
        """The probability as odds, p / (1 - p)."""
        return self.probability / (1 - self.probability + 1e-9)


Headings = Mapping[int, Sequence[Heading]]  # document ids to their headings


def score_sentences(
    question: str, hits: Sequence[Hit], headings: Headings, encoder: Encoder, lexical: LexicalIndex
) -> list[ScoredSentence]:
    """Sentences of the passages with the probability that each contains the answer, best first.

    Args:
        hits: the passages, best first.
        headings: headings of the passages' documents.
        encoder: gives the similarity of the question and a sentence.
        lexical: gives the weights (IDF) of the question's terms.
    """
    spans = candidate_sentences(hits, headings)
    if not spans:
        return []
    language = language_of(question)
    of_hits = [evidence_model(encoder.name, language, language_of(hit.text)) for hit in hits]
    models = [of_hits[span.hit] for span in spans]
    # No cosine is computed if none counts.
    used = encoder if any(model.uses_encoder for model in of_hits) else None
    values = sentence_features(question, hits, spans, headings, used, lexical)
    logits = (values * [model.weights for model in models]).sum(axis=1)
    logits += [model.intercept for model in models]
    probabilities = 1 / (1 + np.exp(-logits))
    sentences = [
        ScoredSentence(
            hits[span.hit],
            hits[span.hit].start + span.start,
            hits[span.hit].start + span.end,
            float(probability),
        )
        for span, probability in zip(spans, probabilities, strict=True)
    ]
    return sorted(sentences, key=lambda sentence: -sentence.probability)


def candidate_sentences(hits: Sequence[Hit], headings: Headings) -> list[SentenceSpan]:
    """Sentences that may contain an answer, in order of the hits.

    Headings, questions and very long sentences are left out. The words of a heading still count in
    the features of the sentences below it.
    """
    heading_offsets = {
        document_id: {heading.offset for heading in of_document}
        for document_id, of_document in headings.items()
    }
    return [
        SentenceSpan(index, start, end)
        for index, hit in enumerate(hits)
        for start, end in sentence_spans(hit.text)
        if end - start <= _MAX_CHARACTERS
        and re.search(r"\w", hit.text[start:end])
        and not hit.text[start:end].rstrip("*_ ”\"'").endswith(("?", "？"))
        and hit.start + start not in heading_offsets[hit.document_id]
    ][:_MAX_SENTENCES]


def _similarities(question: str, texts: Sequence[str], encoder: Encoder) -> NDArray[np.float32]:
    """Cosine similarity of the question and each text, [texts]."""
    passages = [to_simplified(text) for text in texts]
    query = encoder.encode([to_simplified(question)], "query")[0]
    similarities: NDArray[np.float32] = encoder.encode(passages, "passage") @ query
    return similarities


def sentence_features(
    question: str,
    hits: Sequence[Hit],
    spans: Sequence[SentenceSpan],
    headings: Headings,
    encoder: Encoder | None,
    lexical: LexicalIndex,
) -> NDArray[np.float64]:
    """The numbers that `FEATURES` names for each sentence, [sentences, len(FEATURES)].

    Args:
        encoder: gives the cosines; None leaves them at 0.
    """
    idf = lexical.idf(key_terms(question, lexical.has_term))
    total = sum(idf.values()) or 1.0

    def coverage(terms: set[str]) -> float:
        """Share of the question's IDF weight that is in these terms."""
        return sum(weight for term, weight in idf.items() if term in terms) / total

    texts = [hits[span.hit].text[span.start : span.end] for span in spans]
    similarities = _similarities(question, texts, encoder) if encoder else np.zeros(len(texts))
    terms = [set(tokenize(text)) for text in texts]
    passage_coverage = [coverage(set(tokenize(hit.text_with_context))) for hit in hits]
    best_score = max(hit.score for hit in hits) or 1.0
    outlines = {document_id: Outline(of_document) for document_id, of_document in headings.items()}
    asks_number = bool(_ASKS_NUMBER.search(fold(question)))
    rows = []
    for row, span in enumerate(spans):
        hit = hits[span.hit]
        nearby = set(tokenize(outlines[hit.document_id].path(hit.start + span.start)))
        for neighbor in (row - 1, row, row + 1):
            if 0 <= neighbor < len(spans) and spans[neighbor].hit == span.hit:
                nearby |= terms[neighbor]
        number = (1.0 if _NUMBER.search(fold(texts[row])) else -1.0) if asks_number else 0.0
        rows.append(
            (
                float(similarities[row]),
                coverage(terms[row]),
                coverage(nearby),
                passage_coverage[span.hit],
                hit.score / best_score,
                (hit.dense or 0.0) if encoder else 0.0,
                number,
            )
        )
    return np.array(rows)
