"""Sentence encoders: text to unit vectors whose dot product is a similarity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray


class Encoder(Protocol):
    """A sentence encoder.

    A text's vector depends on that text alone, never on the other texts of its batch: ingestion
    that was interrupted and resumed then stores the same bytes as one that was not.
    """

    name: str
    dimensions: int

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """Unit vectors [len(texts), dimensions], in the order of `texts`."""
        ...

    def tokens(self, texts: Sequence[str]) -> int:
        """Number of tokens that are read of `texts`, with special ones, without truncated ones."""
        ...
