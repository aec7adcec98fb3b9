"""The evidence for each sentence, against a second account of its features."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from samples import ENCODER, ingest

from moli.records.answers import Hit
from moli.records.documents import Heading
from moli.retrieval.evidence import (
    FEATURES,
    SentenceSpan,
    candidate_sentences,
    evidence_model,
    score_sentences,
    sentence_features,
)
from moli.retrieval.search import Retriever
from moli.retrieval.tokens import LANGUAGES
from moli.workspace import Workspace

TEXT = "The pump is loud. It has 3 valves. Is it old?\n\nThe motor turns the pump."
QUESTION = "How many valves has the pump?"
NONE = {1: ()}


@pytest.fixture
def hits(workspace: Workspace, retriever: Retriever) -> list[Hit]:
    ingest(workspace, {"a": TEXT})
    return retriever.search(QUESTION)


def texts(hits: list[Hit], spans: list[SentenceSpan]) -> list[str]:
    return [hits[span.hit].text[span.start : span.end] for span in spans]


def test_questions_and_headings_are_no_candidates(hits: list[Hit]) -> None:
    assert texts(hits, candidate_sentences(hits, NONE)) == [
        "The pump is loud.",
        "It has 3 valves.",
        "The motor turns the pump.",
    ]
    headings = {1: (Heading(0, 1, "The pump is loud."),)}
    assert texts(hits, candidate_sentences(hits, headings))[0] == "It has 3 valves."


def test_each_feature_is_what_its_name_says(hits: list[Hit], retriever: Retriever) -> None:
    spans = candidate_sentences(hits, NONE)
    table = sentence_features(QUESTION, hits, spans, NONE, ENCODER, retriever.indexes.lexical)
    assert table.shape == (3, len(FEATURES))
    columns = dict(zip(FEATURES, table.T, strict=True))
    vectors = ENCODER.encode([QUESTION, *texts(hits, spans)]).astype(float)
    np.testing.assert_allclose(columns["similarity"], vectors[1:] @ vectors[0], atol=1e-6)
    assert columns["number"].tolist() == [-1.0, 1.0, -1.0]
    assert columns["rank"].tolist() == [1.0] * 3
    assert columns["passage_similarity"].tolist() == [hits[0].dense] * 3
    assert (columns["coverage"] <= columns["nearby"]).all()
    assert (columns["nearby"] <= columns["passage"] + 1e-12).all()
    assert ((columns["coverage"] >= 0) & (columns["passage"] <= 1 + 1e-12)).all()
    # The second sentence has the valves, the third has nothing that was asked for but the pump.
    assert columns["coverage"][1] > 0


def test_a_question_without_a_number_has_no_use_for_one(
    hits: list[Hit], retriever: Retriever
) -> None:
    spans = candidate_sentences(hits, NONE)
    table = sentence_features("Is it loud", hits, spans, NONE, ENCODER, retriever.indexes.lexical)
    assert table[:, FEATURES.index("number")].tolist() == [0.0] * 3


def test_probabilities_are_logistic_in_the_features_best_first(
    hits: list[Hit], retriever: Retriever
) -> None:
    lexical = retriever.indexes.lexical
    table = sentence_features(
        QUESTION, hits, candidate_sentences(hits, NONE), NONE, ENCODER, lexical
    )
    model = evidence_model(ENCODER.name, "en", "en")
    expected = sorted(
        (
            1
            / (
                1
                + math.exp(
                    -math.fsum(w * v for w, v in zip(model.weights, row, strict=True))
                    - model.intercept
                )
            )
            for row in table.tolist()
        ),
        reverse=True,
    )
    result = score_sentences(QUESTION, hits, NONE, ENCODER, lexical)
    assert [each.probability for each in result] == pytest.approx(expected)
    assert all(each.text in TEXT for each in result)
    assert all(TEXT[each.start : each.end] == each.text for each in result)


def test_nothing_found_is_no_evidence(retriever: Retriever) -> None:
    assert score_sentences(QUESTION, [], {}, ENCODER, retriever.indexes.lexical) == []


@pytest.mark.parametrize("encoder", ["builtin:minilm", "e5", "someone/elses"])
def test_there_is_a_model_for_every_encoder_and_pair_of_languages(encoder: str) -> None:
    for language, passage_language in itertools.product(LANGUAGES, LANGUAGES):
        model = evidence_model(encoder, language, passage_language)
        assert len(model.weights) == len(FEATURES)
