"""Correlations against SciPy and against values worked out by hand."""

from __future__ import annotations

import math
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from moli.metrics.correlation import average_ranks, pearson, spearman
from moli.records.errors import InputError


def test_pearson_by_hand() -> None:
    # About their means: (-1, 0, 1) and (-1, 2, -1) give 0; (-1, 0, 1) and (-4, -1, 5) / 3 give
    # 3 / sqrt(2 * 42 / 9).
    assert pearson([1, 2, 3], [0, 3, 0]) == pytest.approx(0.0)
    assert pearson([1, 2, 3], [0, 1, 3]) == pytest.approx(3 / math.sqrt(2 * 42 / 9))


def test_a_straight_line_is_a_correlation_of_one_and_never_more() -> None:
    scores = np.random.default_rng(0).random(1000)
    assert 1 - 1e-12 < pearson(scores, 3 * scores + 7) <= 1
    assert -1 <= pearson(scores, -scores) < -1 + 1e-12
    assert pearson(scores, scores * 1e200) == pytest.approx(1)
    assert pearson(scores, scores * 1e-200) == pytest.approx(1)


def test_equal_scores_share_the_mean_of_their_ranks() -> None:
    assert average_ranks([3.0, 1.0, 3.0, 2.0]).tolist() == [3.5, 1, 3.5, 2]
    assert average_ranks([5.0, 5.0, 5.0]).tolist() == [2, 2, 2]


def test_spearman_sees_only_the_order() -> None:
    assert spearman([1, 2, 3, 4], [1, 10, 100, 1000]) == pytest.approx(1)
    # 1 - 6 * (0 + 1 + 1) / (3 * 8), the formula for ranks without ties
    assert spearman([1, 2, 3], [1, 3, 2]) == pytest.approx(0.5)


@pytest.mark.slow
@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.integers(-3, 3), st.floats(-2, 2).map(lambda x: round(x, 1))),
        min_size=3,
        max_size=30,
    )
)
def test_scipy_agrees(pairs: list[tuple[int, float]]) -> None:
    stats = pytest.importorskip("scipy.stats")
    first, second = ([float(pair[side]) for pair in pairs] for side in (0, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of constant series, whose correlation is NaN to SciPy
        expected = [stats.pearsonr(first, second)[0], stats.spearmanr(first, second)[0]]
    result = [pearson(first, second), spearman(first, second)]
    assert result == pytest.approx(np.nan_to_num(expected).tolist(), abs=1e-9)
    assert average_ranks(second).tolist() == stats.rankdata(second).tolist()


@pytest.mark.parametrize("constant", [0.0, 0.1, 1e16])
def test_what_is_constant_goes_together_with_nothing(constant: float) -> None:
    assert pearson([1, 2, 3, 4, 5, 6], [constant] * 6) == 0.0
    assert spearman([constant] * 6, [1, 2, 3, 4, 5, 6]) == 0.0


def test_one_pair_or_unequal_numbers_are_refused() -> None:
    with pytest.raises(InputError, match="too few"):
        pearson([1.0], [1.0])
    with pytest.raises(InputError, match="3 predictions for 2 references"):
        spearman([1.0, 2.0], [1.0, 2.0, 3.0])
