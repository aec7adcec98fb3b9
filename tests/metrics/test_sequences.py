"""Sequence scores against the definition of edit distance and against values by hand."""

from __future__ import annotations

from functools import cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from moli.metrics.classification import accuracy
from moli.metrics.sequences import edit_distance, error_rate, repetition
from moli.records.errors import InputError

TOKENS = st.lists(st.integers(0, 3), max_size=9).map(tuple)


def by_definition(first: tuple[int, ...], second: tuple[int, ...]) -> int:
    """The textbook's recursion."""

    @cache
    def distance(i: int, j: int) -> int:
        if not i or not j:
            return i + j
        substitution = distance(i - 1, j - 1) + (first[i - 1] != second[j - 1])
        return min(substitution, distance(i - 1, j) + 1, distance(i, j - 1) + 1)

    return distance(len(first), len(second))


@given(TOKENS, TOKENS)
def test_the_distance_is_that_of_the_definition(
    first: tuple[int, ...], second: tuple[int, ...]
) -> None:
    assert edit_distance(first, second) == by_definition(first, second)


@pytest.mark.parametrize(
    ("first", "second", "distance"),
    [
        ("kitten", "sitting", 3),
        ("intention", "execution", 5),
        ("", "abc", 3),
        ("abc", "", 3),
        ("", "", 0),
        ("同样", "同样", 0),
    ],
)
def test_distances_of_the_textbooks(first: str, second: str, distance: int) -> None:
    assert edit_distance(first, second) == distance


def test_tokens_are_compared_whole() -> None:
    assert edit_distance(["the", "cat", "sat"], ["the", "sat"]) == 1
    assert edit_distance([1, 2, 3], (1, 2, 3)) == 0


def test_the_error_rate_is_all_edits_over_all_tokens() -> None:
    # 1 edit in 4 tokens and 1 in 1: 2 / 5, where the mean of rates would be 0.625.
    assert error_rate([[1, 2, 3, 4], [5]], [[1, 2, 4], [6]]) == pytest.approx(0.4)
    assert error_rate([[1]], [[2, 3, 4]]) == 3.0
    assert error_rate([[], [1]], [[2], [1]]) == 1.0


def test_the_exact_share_counts_whole_sequences() -> None:
    assert accuracy([[1, 2], [3], []], [[1, 2], [3, 4], []]) == pytest.approx(2 / 3)
    assert accuracy(["a"], ["A"]) == 0.0


def test_what_cannot_be_scored_is_told() -> None:
    with pytest.raises(InputError, match="all empty"):
        error_rate([[]], [[1]])
    with pytest.raises(InputError, match="2 predictions for 1 references"):
        error_rate([[1]], [[1], [2]])
    with pytest.raises(InputError, match="too few"):
        accuracy([], [])


def test_repetition_counts_runs_that_stand_there_before() -> None:
    assert repetition([1, 2, 3, 4, 5]) == 0
    assert repetition([1, 2, 3, 4, 1, 2, 3, 4]) == pytest.approx(1 / 5)  # one run of five
    assert repetition([7] * 13) == pytest.approx(9 / 10)
    assert repetition([7] * 3) == 0 and repetition([]) == 0
    assert repetition("ababab", run=2) == pytest.approx(3 / 5)
