"""Ranking metrics against values worked out by hand."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moli.metrics.ranking import ndcg, recall, reciprocal_rank


def test_ndcg_discounts_by_the_logarithm_of_the_rank() -> None:
    # gains 3, 0, 2 at ranks 1, 2, 3: 3 + 2 / log2(4) = 4; at best 3 + 2 / log2(3)
    assert ndcg(["a", "x", "b"], {"a": 3, "b": 2}) == pytest.approx(4 / (3 + 2 / math.log2(3)))


def test_ndcg_is_one_for_the_ideal_order_and_nothing_without_relevance() -> None:
    grades = {"a": 3.0, "b": 2.0, "c": 1.0}
    assert ndcg(["a", "b", "c", "x"], grades) == 1.0
    assert ndcg(["x", "y"], grades) == 0.0
    assert ndcg(["a"], {}) == 0.0
    assert ndcg([], grades) == 0.0


def test_ndcg_by_hand_for_an_order_that_is_not_the_best() -> None:
    # b, a, c gains 3 / log2(3) + 1 / log2(4) = 2.392789, and the best order, a, c, gains
    # 3 + 1 / log2(3) = 3.630930.
    grades = {"a": 3, "c": 1}
    assert ndcg(["b", "a", "c"], grades) == pytest.approx(0.659002, abs=1e-6)
    assert ndcg(["b", "a", "c"], grades, depth=2) == pytest.approx(0.521296, abs=1e-6)


def test_ndcg_sees_no_further_than_its_depth() -> None:
    assert ndcg(["x", "a"], {"a": 1}, depth=1) == 0.0
    # The ideal is cut at the depth as well: one of two relevant items is all that fits.
    assert ndcg(["a"], {"a": 1, "b": 1}, depth=1) == 1.0


def test_recall_is_the_share_of_the_relevant_that_was_found() -> None:
    assert recall(["a", "x", "b"], {"a", "b", "c", "d"}, 3) == 0.5
    assert recall(["a", "x", "b"], {"a", "b", "c", "d"}, 2) == 0.25
    assert recall(["a"], set(), 3) == 0.0


def test_the_reciprocal_rank_is_of_the_first_that_is_relevant() -> None:
    assert reciprocal_rank(["x", "y", "a", "b"], {"a", "b"}) == pytest.approx(1 / 3)
    assert reciprocal_rank(["x", "y", "a"], {"a"}, depth=2) == 0.0
    assert reciprocal_rank([], {"a"}) == 0.0


@given(st.dictionaries(st.integers(0, 5), st.floats(0.1, 9), min_size=1, max_size=5))
def test_no_order_beats_the_ideal_one(grades: dict[int, float]) -> None:
    best = max(ndcg(order, grades) for order in itertools.permutations(grades))
    assert best == pytest.approx(1.0)
    assert ndcg(sorted(grades, key=lambda each: -grades[each]), grades) == pytest.approx(1.0)
