from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moli.models.encoders.hashing import HashEncoder
from moli.records.answers import Fusion
from moli.retrieval.fuse import default_fusion, fuse, minmax, reciprocal_rank, zscore
from moli.retrieval.tokens import Language

SCORES = st.dictionaries(st.integers(1, 12), st.integers(-40, 40).map(lambda n: n / 4), max_size=8)
FUSIONS = st.builds(
    Fusion,
    st.sampled_from(["minmax", "zscore", "rrf"]),
    st.sampled_from([0.0, 0.1, 0.5, 0.8, 1.0]),
)


def test_minmax_maps_the_lowest_to_0_and_the_highest_to_1() -> None:
    assert minmax({1: 2.0, 2: 6.0, 3: 3.0}) == {1: 0.0, 2: 1.0, 3: 0.25}
    assert minmax({1: 4.0, 2: 4.0}) == {1: 1.0, 2: 1.0}
    assert minmax({}) == {}


def test_zscore_counts_standard_deviations_above_the_lowest() -> None:
    # mean 5, variance (9 + 1 + 1 + 9) / 4 = 5
    result = zscore({1: 2.0, 2: 4.0, 3: 6.0, 4: 8.0})
    assert result == pytest.approx({n: 2 * (n - 1) / 5**0.5 for n in (1, 2, 3, 4)})
    assert zscore({7: 3.0}) == {7: 1.0}
    assert zscore({}) == {}


def test_reciprocal_rank_is_one_over_sixty_and_the_rank() -> None:
    result = reciprocal_rank({5: 0.1, 9: 0.9, 2: 0.5})
    assert result == pytest.approx({9: 1 / 61, 2: 1 / 62, 5: 1 / 63})


def test_equal_scores_are_ranked_by_passage_number() -> None:
    assert reciprocal_rank({5: 1.0, 2: 1.0}) == pytest.approx({2: 1 / 61, 5: 1 / 62})
    assert fuse({5: 1.0, 2: 1.0}, {}, Fusion("minmax", 1.0)) == [(2, 1.0), (5, 1.0)]


def test_both_sides_are_added_by_their_weight() -> None:
    lexical, dense = {1: 10.0, 2: 5.0, 3: 0.0}, {2: 0.9, 3: 0.7, 4: 0.5}
    result = fuse(lexical, dense, Fusion("minmax", 0.75))
    # 1: .75; 2: .75 * .5 + .25; 3: .25 * .5; 4: 0
    assert [number for number, _ in result] == [1, 2, 3, 4]
    assert [score for _, score in result] == pytest.approx([0.75, 0.625, 0.125, 0.0])


def test_rrf_adds_the_weighted_reciprocal_ranks() -> None:
    result = dict(fuse({1: 9.0, 2: 1.0}, {2: 0.9, 3: 0.1}, Fusion("rrf", 0.5)))
    assert result == pytest.approx({1: 0.5 / 61, 2: 0.5 / 62 + 0.5 / 61, 3: 0.5 / 62})


@pytest.mark.parametrize(("weight", "kept"), [(1.0, {1, 2}), (0.0, {2, 3})])
def test_a_side_without_weight_brings_nothing_in(weight: float, kept: set[int]) -> None:
    fused = fuse({1: 1.0, 2: 0.5}, {2: 1.0, 3: 0.5}, Fusion("minmax", weight))
    assert {number for number, _ in fused} == kept


@pytest.mark.slow
@given(SCORES, SCORES, FUSIONS)
def test_every_passage_comes_once_best_first(
    lexical: dict[int, float], dense: dict[int, float], fusion: Fusion
) -> None:
    fused = fuse(lexical, dense, fusion)
    keys = [(-score, number) for number, score in fused]
    assert keys == sorted(keys)
    expected = (set(lexical) if fusion.weight else set()) | (
        set(dense) if fusion.weight < 1 else set()
    )
    assert sorted(number for number, _ in fused) == sorted(expected)
    assert all(score >= 0 for _, score in fused)


@pytest.mark.slow
@given(SCORES, SCORES, FUSIONS)
def test_what_is_better_on_one_side_and_equal_on_the_other_is_not_worse_fused(
    lexical: dict[int, float], dense: dict[int, float], fusion: Fusion
) -> None:
    fused = dict(fuse(lexical, dense, fusion))
    only_lexical = [n for n in fused if n in lexical and n not in dense]
    for a in only_lexical:
        for b in only_lexical:
            if lexical[a] > lexical[b] and fusion.weight > 0:
                assert fused[a] >= fused[b]


@pytest.mark.slow
@given(SCORES, SCORES, FUSIONS.filter(lambda f: f.method != "zscore"), st.data())
def test_a_better_side_score_never_lowers_the_fused_score(
    lexical: dict[int, float], dense: dict[int, float], fusion: Fusion, data: st.DataObject
) -> None:
    if not lexical or not fusion.weight:
        return
    number = data.draw(st.sampled_from(sorted(lexical)))
    raised = lexical | {number: lexical[number] + data.draw(st.sampled_from([0.25, 1.0, 50.0]))}
    before, after = (dict(fuse(side, dense, fusion))[number] for side in (lexical, raised))
    assert after >= before - 1e-12


def test_a_zscore_can_fall_as_the_score_behind_it_rises() -> None:
    """Why the law above leaves it out: an outlier stretches the deviation it is measured in."""
    near, far = (zscore({1: 0.0, 2: 10.0, 3: top})[3] for top in (20.0, 1000.0))
    assert near == pytest.approx(6**0.5)
    assert far < near


def reader(reads_chinese: bool) -> HashEncoder:
    encoder = HashEncoder()
    encoder.reads_chinese = reads_chinese
    return encoder


@pytest.mark.parametrize(
    ("reads_chinese", "language", "passage_language", "weight"),
    [
        (True, "en", "en", 0.5),
        (True, "zh", "zh", 0.5),
        (True, "zh", "en", 0.3),
        (True, "en", "zh", 0.3),
        (False, "en", "en", 0.5),
        (False, "zh", "zh", 0.9),
        (False, "zh", "en", 0.9),
        (False, "en", "zh", 0.9),
    ],
)
def test_by_default_words_count_less_than_meaning_between_languages(
    reads_chinese: bool, language: Language, passage_language: Language, weight: float
) -> None:
    encoder = reader(reads_chinese)
    assert default_fusion(encoder, language, passage_language) == Fusion("minmax", weight)
