"""Numbers and durations as text for people."""

from __future__ import annotations

import math

import pytest

from moli.training.listeners.formatting import flatten_values, format_duration, format_value


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0, "0.0 s"), (3.26, "3.3 s"), (9.97, "10 s"), (59.6, "1 min"), (190, "3 min 10 s"),
     (3600, "1 h"), (7500, "2 h 5 min"), (100_800, "1 d 4 h"), (math.nan, "?"), (math.inf, "?")],
)  # fmt: skip
def test_a_duration_in_words(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(12345, "12,345"), (True, "yes"), (0.871234, "0.8712"), (34.1, "34.1"), (2e-5, "2e-05"),
     (0.0, "0"), (123456.7, "123,457"), (math.nan, "not a number"),
     (-math.inf, "-inf"), ("a", "a")],
)  # fmt: skip
def test_a_figure_for_people(value: object, text: str) -> None:
    assert format_value(value) == text


def test_nested_values_get_dotted_names() -> None:
    nested = {"a": {"b": 1, "c": {"d": [1, "x"]}}, "none": None, "empty": ""}
    assert flatten_values(nested) == {"a.b": "1", "a.c.d": "1, x"}
