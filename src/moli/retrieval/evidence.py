"""Evidence: for each candidate of the retrieved passages, the probability that it is the answer.

A logistic regression computes the probability from `FEATURES` of the question, the candidate and
its passage, and of nothing else: other documents, added or removed, don't change it. It was fitted
(Platt 1999) on questions with and without an answer in the documents. So the highest probability of
all candidates also estimates whether the documents contain the answer, and is the confidence of the
whole answer. A candidate that lacks an entity of the question keeps a small share of it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from moli.models.protocols.encoder import Encoder
from moli.records.answers import Hit
from moli.retrieval.answer_kinds import has_asked_kind
from moli.retrieval.candidates import Candidate, Headings, candidates
from moli.retrieval.chinese import IDEOGRAPH, to_simplified
from moli.retrieval.dictionary import translations
from moli.retrieval.entities import Entity, entities, missing_entities
from moli.retrieval.function_words import FUNCTION_WORDS
from moli.retrieval.rarity import rarity
from moli.retrieval.tokens import LANGUAGES, Language, fold, key_terms, language_of, tokenize

# Candidates that the encoder reads, which takes most of an answer's time: those with most words of
# the question.
_ENCODED = 96
# What is left of the probability of a candidate that lacks an entity of the question.
_SHARE_WITHOUT_ENTITY = 0.25
# Even the most frequent key term counts a little.
_MIN_WEIGHT = 0.05
_KIND_VALUES = {True: 1.0, False: -1.0, None: 0.0}

FEATURES = (
    "similarity",  # cosine of the question and the candidate below its title and headings
    "coverage",  # share of the question's key terms, weighted by rarity, that the candidate has
    "nearby",  # the same for the candidate and what is around it
    "passage",  # the same for the whole passage
    "passage_similarity",  # cosine of passage and question
    "kind",  # if the question asks for a time, a price, ...: whether there is one (+1) or none (-1)
    "lacking",  # rarity of the rarest key term that the passage lacks
    "characters",  # share of the key terms' characters that the candidate and its surroundings have
    "terms",  # logarithm of the number of key terms
    "record",  # whether it is a row or a line of a form
    "new",  # whether the candidate states a word that the question lacks
)


@dataclass(frozen=True, slots=True)
class EvidenceModel:
    """A logistic regression on `FEATURES`."""

    weights: tuple[float, ...]
    intercept: float

    @property
    def uses_encoder(self) -> bool:
        """Whether a cosine counts."""
        return self.weights[FEATURES.index("similarity")] != 0


@dataclass(frozen=True, slots=True)
class ScoredSentence:
    """A candidate with the probability that it is the answer.

    Attributes:
        start, end: offsets into the document's text.
        reading: a row with the names of its columns; "" of what reads as it stands.
        missing: entities of the question that it lacks.
    """

    hit: Hit
    start: int
    end: int
    probability: float
    reading: str = ""
    missing: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """The sentence as it is shown: as it stands in the document, or a row's reading."""
        return (
            self.reading or self.hit.text[self.start - self.hit.start : self.end - self.hit.start]
        )

    @property
    def odds(self) -> float:
        """The probability as odds, p / (1 - p)."""
        return self.probability / (1 - self.probability + 1e-9)


def score_sentences(
    question: str, hits: Sequence[Hit], headings: Headings, encoder: Encoder
) -> list[ScoredSentence]:
    """The candidates of the passages with the probability that each is the answer, best first.

    Args:
        hits: the passages, best first.
        headings: headings of the passages' documents.
        encoder: gives the similarity of the question and a candidate.
    """
    shortlisted = shortlist(question, candidates(hits, headings))
    if not shortlisted:
        return []
    probabilities = _probabilities(question, hits, shortlisted, encoder)
    required = required_entities(question, hits)
    scored = []
    for candidate, probability in zip(shortlisted, probabilities, strict=True):
        hit = hits[candidate.hit]
        missing = missing_of(required[candidate.hit], candidate, hit)
        scored.append(
            ScoredSentence(
                hit,
                hit.start + candidate.start,
                hit.start + candidate.end,
                float(probability) * (_SHARE_WITHOUT_ENTITY if missing else 1.0),
                candidate.reading if candidate.is_record else "",
                missing,
            )
        )
    return sorted(scored, key=lambda sentence: -sentence.probability)


def shortlist(question: str, all_candidates: Sequence[Candidate]) -> list[Candidate]:
    """The candidates that have most of the question's words, in their order; at most `_ENCODED`.

    Candidates with equally many are taken in order of passages.
    """
    if len(all_candidates) <= _ENCODED:
        return list(all_candidates)
    by_language, shares = _question_terms(question), []
    for candidate in all_candidates:
        near = _near(candidate)
        terms = by_language[language_of(near)]
        shares.append(2 * terms.coverage(candidate.reading) + terms.coverage(near))
    best = sorted(range(len(shares)), key=lambda number: -shares[number])[:_ENCODED]
    return [all_candidates[number] for number in sorted(best)]


def required_entities(question: str, hits: Sequence[Hit]) -> list[list[Entity]]:
    """For each passage, the entities of the question that a candidate of it has to be about.

    In another language, they are those that are written alike in all languages.
    """
    required, language = entities(question), language_of(question)
    universal = [entity for entity in required if entity.is_universal]
    return [required if language_of(hit.text) == language else universal for hit in hits]


def missing_of(required: Sequence[Entity], candidate: Candidate, hit: Hit) -> tuple[str, ...]:
    """The required entities that a candidate lacks, in the question's words."""
    if not required:
        return ()
    passage = _passage(candidate, hit)
    above = candidate.in_context if candidate.is_record else ""
    return missing_entities(required, candidate.reading, candidate.around, passage, above)


def _near(candidate: Candidate) -> str:
    """A candidate with what is around it."""
    return f"{candidate.reading}\n{candidate.around}"


def _passage(candidate: Candidate, hit: Hit) -> str:
    """All text that may tell what a candidate is about; other rows tell nothing about a row."""
    return _near(candidate) if candidate.is_record else hit.text_with_context


def _probabilities(
    question: str, hits: Sequence[Hit], shortlisted: Sequence[Candidate], encoder: Encoder
) -> NDArray[np.float64]:
    """The probability of each candidate by the model for its language [candidates]."""
    language = language_of(question)
    of_hits = [evidence_model(encoder.name, language, language_of(hit.text)) for hit in hits]
    models = [of_hits[candidate.hit] for candidate in shortlisted]
    # No cosine is computed if none counts.
    used = encoder if any(model.uses_encoder for model in models) else None
    values = candidate_features(question, hits, shortlisted, used)
    logits = (values * [model.weights for model in models]).sum(axis=1)
    logits += [model.intercept for model in models]
    return np.asarray(1 / (1 + np.exp(-logits)))


def candidate_features(
    question: str, hits: Sequence[Hit], shortlisted: Sequence[Candidate], encoder: Encoder | None
) -> NDArray[np.float64]:
    """The numbers that `FEATURES` names for each candidate [candidates, len(FEATURES)].

    Args:
        encoder: None if no cosine is needed; similarities are then 0.
    """
    by_language = _question_terms(question)
    of_hits = [by_language[language_of(hit.text)] for hit in hits]
    similarities = np.zeros(len(shortlisted), np.float32)
    if encoder:
        query = encoder.encode([to_simplified(question)], "query")[0]
        texts = [to_simplified(candidate.in_context) for candidate in shortlisted]
        similarities = encoder.encode(texts, "passage") @ query
    rows = []
    for candidate, similarity in zip(shortlisted, similarities, strict=True):
        hit, terms = hits[candidate.hit], of_hits[candidate.hit]
        own, near, passage = candidate.reading, _near(candidate), _passage(candidate, hit)
        kind = has_asked_kind(question, own)
        rows.append(
            (
                float(similarity),
                terms.coverage(own),
                terms.coverage(near),
                terms.coverage(passage),
                (float(similarity) if hit.dense is None else hit.dense) if encoder else 0.0,
                _KIND_VALUES[kind],
                terms.rarest_lack(passage),
                terms.character_coverage(near),
                float(np.log(max(len(terms.weights), 1))),
                float(candidate.is_record),
                float(_states_news(candidate, terms, kind)),
            )
        )
    return np.array(rows)


def _states_news(candidate: Candidate, terms: _QuestionTerms, kind: bool | None) -> bool:
    """Whether a candidate states a word that the question lacks.

    The line of a form that names what the form is about only repeats what the question is about,
    if the name is in the question; or part of it is, and the question asks for something else
    (`kind` is false).
    """
    name = candidate.subject_name
    if not name:
        return terms.is_exceeded_by(candidate.reading)
    is_repeated = kind is False and terms.coverage(name) > 0
    return terms.is_exceeded_by(name) and not is_repeated


class _QuestionTerms:
    """The key terms of a question, weighted by their rarity.

    Args:
        in_translation: whether texts are in another language, where translations count.
    """

    def __init__(self, question: str, *, in_translation: bool = False) -> None:
        self._in_translation = in_translation
        self.weights = {term: max(rarity(term), _MIN_WEIGHT) for term in key_terms(question)}
        self._total = sum(self.weights.values()) or 1.0
        self._all = set(tokenize(question))
        self._characters = set("".join(self.weights))

    def coverage(self, text: str) -> float:
        """Share of the terms' weight that a text has."""
        terms = terms_of(text)
        present = sum(weight * self._presence(term, terms) for term, weight in self.weights.items())
        return present / self._total

    def rarest_lack(self, text: str) -> float:
        """Weight of the rarest term that a text lacks; 0 if it lacks none."""
        terms = terms_of(text)
        lacks = (
            weight * (1 - self._presence(term, terms)) for term, weight in self.weights.items()
        )
        return max(lacks, default=0.0)

    def _presence(self, term: str, terms: frozenset[str]) -> float:
        """The `presence` of a key term among the terms of a text."""
        return presence(term, terms, in_translation=self._in_translation)

    def character_coverage(self, text: str) -> float:
        """Share of the characters of the terms that a text has.

        It is for Chinese, whose words are cut differently from sentence to sentence, and have
        synonyms that share a character.
        """
        return len(self._characters & set(fold(text))) / (len(self._characters) or 1)

    def is_exceeded_by(self, text: str) -> bool:
        """Whether a text has a term that the question lacks."""
        return not terms_of(text) <= self._all | FUNCTION_WORDS


@lru_cache(maxsize=64)
def _question_terms(question: str) -> Mapping[Language, _QuestionTerms]:
    """The key terms of a question, to look for in texts of each language."""
    own = language_of(question)
    return {each: _QuestionTerms(question, in_translation=each != own) for each in LANGUAGES}


def presence(term: str, terms: frozenset[str], *, in_translation: bool = False) -> float:
    """Whether a term is among the terms of a text; of a long Chinese one, the share that is.

    Args:
        in_translation: whether a translation of the term counts as well.
    """
    if term in terms:
        return 1.0
    if in_translation:
        return float(any(terms.issuperset(each) for each in translations(term)))
    if len(term) < 3 or not IDEOGRAPH.match(term):
        return 0.0
    pairs = [term[start : start + 2] for start in range(len(term) - 1)]
    return sum(pair in terms for pair in pairs) / len(pairs)


@lru_cache(maxsize=4096)
def terms_of(text: str) -> frozenset[str]:
    """The index terms of a text."""
    return frozenset(tokenize(text))


# Cosines of different encoders mean different things, and the words of a translation less than
# words: so each encoder has models of its own, by the languages of question and passage. Fitted by
# bench/evidence.py.
_MODELS: Mapping[tuple[str, Language, Language], EvidenceModel] = {
    ("e5", "en", "en"): EvidenceModel(
        (48.818, 2.423, 0.182, 0.330, -24.416, 0.716, -0.326, 0.700, 0.748, 0.180, 1.364), -26.036
    ),
    ("e5", "zh", "zh"): EvidenceModel(
        (61.203, 2.999, -1.056, -1.022, -32.480, 0.411, 0.245, 2.226, 0.179, 0.255, 4.310), -32.773
    ),
    ("e5", "zh", "en"): EvidenceModel(
        (48.713, 5.620, -0.237, -0.256, -33.716, 0.367, 0.856, -1.936, -0.181, -0.317, 3.195),
        -19.742,
    ),
    ("e5", "en", "zh"): EvidenceModel(
        (43.145, 3.039, 2.452, -1.408, -31.664, 0.523, -0.468, -2.167, 0.369, 0.100, 0.644), -13.152
    ),
    ("builtin:minilm", "en", "en"): EvidenceModel(
        (9.769, 2.149, 0.042, 0.393, -6.497, 0.705, -0.116, -0.261, 0.299, 0.102, 2.357), -6.399
    ),
}
# Of an encoder that is not known here, what its cosines mean is not known either.
_WORDS: Mapping[Language, EvidenceModel] = {
    "en": EvidenceModel(
        (0.0, 3.629, 1.233, 0.686, 0.0, 0.870, 0.550, -0.285, 0.535, 0.055, 0.970), -5.410
    ),
    "zh": EvidenceModel(
        (0.0, 3.635, -0.438, -0.857, 0.0, 0.554, 0.387, 3.253, 0.446, -0.003, 2.875), -7.477
    ),
}


def evidence_model(encoder: str, language: Language, passage_language: Language) -> EvidenceModel:
    """The model for an encoder, and the languages of a question and a passage."""
    model = _MODELS.get((encoder, language, passage_language))
    return model or _WORDS[language]
