"""A cached encoder returns what its encoder returns, and asks it once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from moli.models.encoders.cached import CachedEncoder
from moli.models.encoders.hashing import HashEncoder
from moli.models.protocols.encoder import Role


class Counting(HashEncoder):
    """Remembers which texts it was given."""

    def __init__(self) -> None:
        super().__init__()
        self.read: list[tuple[str, Role]] = []

    def encode(self, texts: Sequence[str], role: Role = "text") -> NDArray[np.float32]:
        self.read += [(text, role) for text in texts]
        return super().encode(texts, role)


def test_the_same_vectors_and_each_text_once() -> None:
    encoder = Counting()
    cached = CachedEncoder(encoder)
    for texts in (["a", "b", "a"], ["b", "c"], []):
        np.testing.assert_array_equal(
            cached.encode(texts, "passage"), HashEncoder().encode(texts, "passage")
        )
    assert encoder.read == [("a", "passage"), ("b", "passage"), ("c", "passage")]


def test_a_role_is_part_of_the_key() -> None:
    encoder = Counting()
    cached = CachedEncoder(encoder)
    cached.encode(["a"], "query")
    cached.encode(["a"], "passage")
    assert len(encoder.read) == 2


def test_texts_that_were_not_used_for_long_are_forgotten() -> None:
    encoder = Counting()
    cached = CachedEncoder(encoder, capacity=2)
    for text in ("a", "b", "a", "c", "a", "b"):
        cached.encode([text])
    assert [text for text, _ in encoder.read] == ["a", "b", "c", "b"]
