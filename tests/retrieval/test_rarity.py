"""The rarity of words: in order of how common they are, and bounded."""

from __future__ import annotations

import pytest

from moli.retrieval.rarity import rarity
from moli.retrieval.tokens import stem


@pytest.mark.parametrize(
    "words",
    [("the", "people", "ethanol", "zzyzx"), ("公司", "分公司", "磨砺砺"), ("is", "bridge", "b7")],
)
def test_rarer_words_tell_more(words: tuple[str, ...]) -> None:
    values = [rarity(stem(word)) for word in words]
    assert values == sorted(values)
    assert values[0] < values[-1]
    assert all(0 <= value <= 1 for value in values)


def test_unknown_words_tell_most() -> None:
    assert rarity("e4012") == rarity("砺磨") == 1.0
