"""Scores of generated sequences, as token ids or words, each against its reference."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from moli.metrics.pairs import check_pairs
from moli.records.errors import InputError

Tokens = Sequence[Hashable]


def exact_share(expected: Sequence[object], predicted: Sequence[object]) -> float:
    """Share of the predictions that equal their reference.

    Raises:
        InputError: there are none, or not as many as references; `error_rate` raises it too.
    """
    check_pairs(expected, predicted)
    return sum(a == b for a, b in zip(expected, predicted, strict=True)) / len(expected)


def edit_distance(first: Tokens, second: Tokens) -> int:
    """Fewest insertions, deletions and substitutions of a token that turn one into the other
    (Levenshtein 1966)."""
    number: dict[Hashable, int] = {}
    rows, columns = (
        np.array([number.setdefault(token, len(number)) for token in side], np.int64)
        for side in (first, second)
    )
    steps = np.arange(len(columns) + 1)
    above = steps  # [j]: distance from the tokens of `first` so far to second[:j]
    for token in rows:
        row = above + 1  # a deletion
        row[1:] = np.minimum(row[1:], above[:-1] + (columns != token))
        # Insertions run along the row: each place takes the best of all before it, plus 1 a step.
        above = np.minimum.accumulate(row - steps) + steps
    return int(above[-1])


def error_rate(expected: Sequence[Tokens], predicted: Sequence[Tokens]) -> float:
    """Edits that the predictions need per token of the references, as in word error rate.

    All edits over all tokens, not a mean of rates; above 1 if the predictions are far too long.

    Raises:
        InputError: the references have no tokens.
    """
    check_pairs(expected, predicted)
    tokens = sum(map(len, expected))
    if not tokens:
        raise InputError("the references are all empty", fix="Give references with tokens.")
    edits = sum(edit_distance(a, b) for a, b in zip(expected, predicted, strict=True))
    return edits / tokens
