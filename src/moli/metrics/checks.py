"""Checks of predictions and references that all metrics share."""

from __future__ import annotations

from collections.abc import Sized

from moli.records.errors import InputError


def check_predictions(expected: Sized, predicted: Sized, minimum: int = 1) -> None:
    """Check that there is one prediction for each reference, and at least `minimum` of them.

    Raises:
        InputError: there are too few predictions, or not as many as references.
    """
    if len(expected) != len(predicted):
        raise InputError(
            f"{len(predicted)} predictions for {len(expected)} references",
            fix="Give one prediction for each reference, in the same order.",
        )
    if len(expected) < minimum:
        raise InputError(
            f"{len(expected)} predictions are too few to score",
            fix=f"Give {minimum} or more.",
        )
