"""The evidence for each candidate, against a second account of its features."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from samples import ENCODER, hit_of, ingest

from moli.records.answers import Hit
from moli.retrieval.candidates import Candidate, candidates
from moli.retrieval.evidence import (
    FEATURES,
    ScoredSentence,
    candidate_features,
    evidence_model,
    presence,
    score_sentences,
)
from moli.retrieval.search import Retriever
from moli.retrieval.tokens import LANGUAGES
from moli.workspace import Workspace

TEXT = "The pump is loud. It has 3 valves.\nIs it old?\n\nThe motor turns the pump."
QUESTION = "How many valves has the pump?"
NONE = {1: ()}


@pytest.fixture
def hits(workspace: Workspace, retriever: Retriever) -> list[Hit]:
    ingest(workspace, {"a": TEXT})
    return retriever.search(QUESTION)


def table(question: str, hits: list[Hit], found: list[Candidate]) -> dict[str, np.ndarray]:
    values = candidate_features(question, hits, found, ENCODER)
    assert values.shape == (len(found), len(FEATURES))
    return dict(zip(FEATURES, values.T, strict=True))


def test_each_feature_is_what_its_name_says(hits: list[Hit]) -> None:
    found = candidates(hits, NONE)
    assert [each.reading for each in found] == [
        "The pump is loud.",
        "It has 3 valves.",
        "Is it old? The motor turns the pump.",
    ]
    columns = table(QUESTION, hits, found)
    vectors = ENCODER.encode([each.in_context for each in found], "passage").astype(float)
    query = ENCODER.encode([QUESTION], "query").astype(float)[0]
    np.testing.assert_allclose(columns["similarity"], vectors @ query, atol=1e-6)
    assert columns["passage_similarity"].tolist() == [hits[0].dense] * 3
    assert columns["kind"].tolist() == [-1.0, 1.0, -1.0]
    # The second sentence has one of the two key terms, and the other is next to it.
    assert 0 < columns["coverage"][1] < 1
    assert columns["nearby"][1] == columns["passage"][1] == 1
    assert columns["lacking"].tolist() == [0.0] * 3
    assert columns["terms"].tolist() == pytest.approx([math.log(2)] * 3)
    assert columns["new"].tolist() == [1.0] * 3


@pytest.mark.parametrize(
    ("question", "news"),
    [
        ("EQ-22 的负责人是谁？", [1.0, 0.0, 1.0]),
        ("车床净重多少？", [0.0, 1.0, 1.0]),
        ("这台机器叫什么？", [1.0, 1.0, 1.0]),
    ],
)
def test_a_line_that_names_a_form_states_nothing_new_about_what_is_named(
    question: str, news: list[float]
) -> None:
    hit = hit_of("设备名称：车床 A\n编号：EQ-22\n净重：23 公斤")
    assert table(question, [hit], candidates([hit], NONE))["new"].tolist() == news


def test_what_the_passage_lacks_is_weighed_by_its_rarity(hits: list[Hit]) -> None:
    found = candidates(hits, NONE)
    common, rare = (
        table(f"Is the pump {word}?", hits, found)["lacking"][0] for word in ("good", "zzyzx")
    )
    assert 0 < common < rare == 1


def test_a_row_is_judged_by_its_own_cells_and_header() -> None:
    hit = hit_of("Name | Ext\nAnna | 4417\nBob | 4418")
    found = candidates([hit], NONE)
    columns = table("What is Anna's ext?", [hit], found)
    assert columns["record"].tolist() == [1.0, 1.0]
    assert columns["passage"][0] == 1
    assert columns["passage"][1] < 1


def test_a_long_chinese_term_counts_by_its_parts() -> None:
    assert presence("财务部", {"财务部"}) == 1
    assert presence("财务部", {"财务", "务部"}) == 1
    assert presence("财务部", {"财务"}) == 0.5
    assert presence("财务", {"财", "务"}) == 0


def test_probabilities_are_logistic_in_the_features_best_first(hits: list[Hit]) -> None:
    values = candidate_features(QUESTION, hits, candidates(hits, NONE), ENCODER)
    model = evidence_model(ENCODER.name, "en", "en")
    expected = [
        1
        / (1 + math.exp(-math.fsum(map(lambda w, v: w * v, model.weights, row)) - model.intercept))
        for row in values.tolist()
    ]
    result = score_sentences(QUESTION, hits, NONE, ENCODER)
    assert [each.probability for each in result] == pytest.approx(sorted(expected, reverse=True))
    assert all(TEXT[each.start : each.end] == each.text for each in result)


def test_a_candidate_without_an_entity_of_the_question_comes_last() -> None:
    hits = [hit_of("Bridge B6 carries 40 tonnes.\n\nBridge B7 carries 12 tonnes.")]
    best, other = score_sentences("What does bridge B7 carry?", hits, NONE, ENCODER)
    assert (best.text, best.missing) == ("Bridge B7 carries 12 tonnes.", ())
    assert (other.text, other.missing) == ("Bridge B6 carries 40 tonnes.", ("B7",))
    assert other.probability < best.probability / 2


def test_a_row_shows_the_names_of_its_columns() -> None:
    hits = [hit_of("Name | Ext\nAnna | 4417\nBob | 4418")]
    best = score_sentences("What is Anna's ext?", hits, NONE, ENCODER)[0]
    assert best.text == "Name: Anna; Ext: 4417"
    assert hits[0].text[best.start : best.end] == "Anna | 4417"


def test_nothing_found_is_no_evidence() -> None:
    assert score_sentences(QUESTION, [], {}, ENCODER) == []


def test_other_passages_change_no_probability(hits: list[Hit]) -> None:
    others = [hit_of(f"Text {n} is on a motor of 1{n} kW.", passage_id=90 + n) for n in range(7)]

    def of_first(result: list[ScoredSentence]) -> list[tuple[str, float]]:
        return [(each.text, each.probability) for each in result if each.hit is hits[0]]

    alone = of_first(score_sentences(QUESTION, hits, NONE, ENCODER))
    beside = of_first(score_sentences(QUESTION, [*others, *hits], NONE, ENCODER))
    assert alone == beside


@pytest.mark.parametrize("encoder", ["builtin:minilm", "e5", "someone/elses"])
def test_there_is_a_model_for_every_encoder_and_pair_of_languages(encoder: str) -> None:
    for language, passage_language in itertools.product(LANGUAGES, LANGUAGES):
        model = evidence_model(encoder, language, passage_language)
        assert len(model.weights) == len(FEATURES)
