"""Perplexity and bits per byte of models whose probabilities are known."""

from __future__ import annotations

import math

import pytest

from moli.metrics.language import bits_per_byte, perplexity
from moli.records.errors import InputError


def test_a_model_that_guesses_among_n_tokens_has_a_perplexity_of_n() -> None:
    assert perplexity(100 * math.log(32_000), 100) == pytest.approx(32_000)
    assert perplexity(0.0, 5) == 1.0
    # Probabilities 1/2 and 1/8: the geometric mean is 1/4.
    assert perplexity(math.log(2) + math.log(8), 2) == pytest.approx(4)


def test_a_perplexity_that_no_float_holds_is_infinite() -> None:
    assert perplexity(1e6, 1) == math.inf


def test_a_model_that_guesses_each_byte_needs_eight_bits() -> None:
    assert bits_per_byte(50 * math.log(256), 50) == pytest.approx(8)


def test_bits_per_byte_do_not_depend_on_how_text_is_cut() -> None:
    # 12 bytes foreseen with probability 2 ** -18, in however many tokens.
    assert bits_per_byte(18 * math.log(2), 12) == pytest.approx(1.5)


def test_nothing_cannot_be_scored() -> None:
    with pytest.raises(InputError):
        perplexity(0.0, 0)
    with pytest.raises(InputError):
        bits_per_byte(0.0, 0)
