"""Metrics of generated sequences of token ids or words, each with one reference."""

from __future__ import annotations

from collections.abc import Hashable, Sequence

import numpy as np

from moli.metrics.checks import check_predictions
from moli.records.errors import InputError

Tokens = Sequence[Hashable]


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
        # Insertions run along the row: a cell takes the best of all before it, plus 1 a step.
        above = np.minimum.accumulate(row - steps) + steps
    return int(above[-1])


def error_rate(expected: Sequence[Tokens], predicted: Sequence[Tokens]) -> float:
    """Edit distance to the references per token of the references, as in word error rate.

    Total edits over total tokens, not a mean of rates; above 1 if predictions are far too long.

    Raises:
        InputError: there are no predictions, not as many as references, or the references have no
            tokens.
    """
    check_predictions(expected, predicted)
    tokens = sum(map(len, expected))
    if not tokens:
        raise InputError("the references are all empty", fix="Give references with tokens.")
    edits = sum(edit_distance(a, b) for a, b in zip(expected, predicted, strict=True))
    return edits / tokens


def repetition(tokens: Tokens, run: int = 4) -> float:
    """Share of a text's runs of so many tokens that stand there before; 0 if it is shorter."""
    runs = [tuple(tokens[at : at + run]) for at in range(len(tokens) - run + 1)]
    return 1 - len(set(runs)) / len(runs) if runs else 0.0
