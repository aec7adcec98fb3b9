"""What every score of predictions against references requires of them."""

from __future__ import annotations

from collections.abc import Sized

from moli.records.errors import InputError


def check_pairs(expected: Sized, predicted: Sized, least: int = 1) -> None:
    """Check that there is one prediction for each reference, and at least `least` of them.

    Raises:
        InputError: there is not.
    """
    if len(expected) != len(predicted):
        raise InputError(
            f"{len(predicted)} predictions for {len(expected)} references",
            fix="Give one prediction for each reference, in the same order.",
        )
    if len(expected) < least:
        raise InputError(
            f"{len(expected)} predictions are too few to score",
            fix=f"Give {least} or more.",
        )
