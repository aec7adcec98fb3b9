"""Sentence encoders: text to unit vectors whose dot product is a similarity."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol

import numpy as np
from numpy.typing import NDArray

# A query and a passage that answers it are written differently for many encoders: each gets the
# encoder's own prompt, such as "query: ". A text is encoded as it is.
Role = Literal["text", "query", "passage"]


class Encoder(Protocol):
    """A sentence encoder.

    A text's vector depends on that text alone, never on the other texts of its batch: ingestion
    that was interrupted and resumed then stores the same bytes as one that was not.

    Attributes:
        name: the model reference.
        dimensions: length of a vector.
        reads_chinese: whether it tells Chinese texts apart.
    """

    name: str
    dimensions: int
    reads_chinese: bool

    def encode(self, texts: Sequence[str], role: Role = "text") -> NDArray[np.float32]:
        """Unit vectors [len(texts), dimensions], in the order of `texts`.

        Args:
            role: what the texts are; it decides which of the encoder's prompts they begin with.
        """
        ...

    def tokens(self, texts: Sequence[str], role: Role = "text") -> int:
        """Number of tokens that are read of `texts`, with special ones, without truncated ones."""
        ...
