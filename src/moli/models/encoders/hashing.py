"""A sentence encoder for tests, made of hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from moli.models.protocols.encoder import Role


class HashEncoder:
    """An encoder for tests: character trigrams, hashed to a sparse random projection."""

    def __init__(self, name: str = "scripted:hash", dimensions: int = 64) -> None:
        self.name = name
        self.dimensions = dimensions
        self.reads_chinese = True

    def encode(self, texts: Sequence[str], _role: Role = "text") -> NDArray[np.float32]:
        """Unit vectors [len(texts), dimensions], in the order of `texts`."""
        vectors = np.zeros((len(texts), self.dimensions), np.float32)
        for row, text in zip(vectors, texts, strict=True):
            padded = f"  {text.casefold()} "
            for start in range(len(padded) - 2):
                digest = hashlib.blake2b(padded[start : start + 3].encode(), digest_size=8).digest()
                value = int.from_bytes(digest, "little")
                row[value % self.dimensions] += 1.0 if value >> 63 else -1.0
            row /= max(float(np.linalg.norm(row)), 1e-9)
        return vectors

    def tokens(self, texts: Sequence[str], _role: Role = "text") -> int:
        """Number of character trigrams in the texts, which this encoder has for tokens."""
        return sum(len(text.casefold()) + 1 for text in texts)
