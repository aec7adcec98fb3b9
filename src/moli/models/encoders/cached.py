"""An encoder that keeps the vectors of the texts that it read last.

The sentences of a passage are read again for each question that finds it, which takes most of the
time of an answer.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from moli.models.protocols.encoder import Encoder, Role

_CAPACITY = 16_384  # texts; 25 MB of vectors with 384 dimensions


class CachedEncoder:
    """An encoder with a cache of vectors, the least recently used of which make room for new ones.

    Many threads may use it.

    Args:
        encoder: computes the vectors.
        capacity: number of texts whose vectors are kept.
    """

    def __init__(self, encoder: Encoder, capacity: int = _CAPACITY) -> None:
        self.name = encoder.name
        self.dimensions = encoder.dimensions
        self.reads_chinese = encoder.reads_chinese
        self._encoder = encoder
        self._capacity = capacity
        self._vectors: OrderedDict[tuple[Role, str], NDArray[np.float32]] = OrderedDict()
        self._lock = threading.Lock()

    def encode(self, texts: Sequence[str], role: Role = "text") -> NDArray[np.float32]:
        """Unit vectors [len(texts), dimensions], in the order of `texts`."""
        vectors = self._known(texts, role)
        unknown = [text for text in dict.fromkeys(texts) if text not in vectors]
        if unknown:
            # Copied, since a row would keep all vectors of its batch in memory.
            rows = (row.copy() for row in self._encoder.encode(unknown, role))
            vectors.update(zip(unknown, rows, strict=True))
            self._keep({text: vectors[text] for text in unknown}, role)
        ordered = [vectors[text] for text in texts]
        return np.stack(ordered) if ordered else np.empty((0, self.dimensions), np.float32)

    def tokens(self, texts: Sequence[str], role: Role = "text") -> int:
        """Number of tokens that are read of texts, with special ones, without truncated ones."""
        return self._encoder.tokens(texts, role)

    def _known(self, texts: Sequence[str], role: Role) -> dict[str, NDArray[np.float32]]:
        """The vectors that are kept, by text; they now count as used last."""
        known = {}
        with self._lock:
            for text in texts:
                if (vector := self._vectors.get((role, text))) is not None:
                    self._vectors.move_to_end((role, text))
                    known[text] = vector
        return known

    def _keep(self, vectors: dict[str, NDArray[np.float32]], role: Role) -> None:
        """Keep vectors, by text, and forget those that were not used for longest."""
        with self._lock:
            for text, vector in vectors.items():
                self._vectors[role, text] = vector
            while len(self._vectors) > self._capacity:
                self._vectors.popitem(last=False)
