"""The dense index: cosine similarity, by exact scan while small and by an HNSW graph when large."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Collection, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

# OpenVINO has to be loaded before usearch: after it, its float32 kernels give wrong vectors
# (OpenVINO 2026.4 with usearch 2.26). The encoder's module loads it.
import moli.models.encoders.bert  # noqa: F401  # isort: skip
from usearch.index import Index  # isort: skip

from moli.models.protocols.encoder import Encoder
from moli.records.documents import Change
from moli.workspace.passages import PassageStore

# An exact scan of 50,000 vectors takes about 2 ms; beyond that the graph is faster.
EXACT_LIMIT = 50_000
# Depth of the graph search (Malkov & Yashunin 2018, `ef`).
_EXPANSION = 256


class DenseIndex:
    """Vectors of one encoder, in memory, with a file that only saves the next start some work.

    The file's name is the number of the last change in it; it is written whole and then renamed,
    so a file that is there is complete.
    """

    def __init__(self, folder: Path, encoder: Encoder) -> None:
        digest = hashlib.sha256(encoder.name.encode()).hexdigest()[:16]
        self._folder = folder / digest
        self._encoder = encoder
        self.applied = 0
        self._saved = 0
        self._index = self._empty()
        for path in sorted(self._files(), key=_number, reverse=True):
            if self._restore(path):
                self.applied = self._saved = _number(path)
                break

    def _empty(self) -> Index:
        return Index(
            ndim=self._encoder.dimensions, metric="ip", dtype="f16", expansion_search=_EXPANSION
        )

    def _restore(self, path: Path) -> bool:
        """Load a file; False if it is damaged or just went away, for it is only derived."""
        index = self._empty()
        try:
            index.load(str(path))
        except (RuntimeError, OSError, ValueError):
            return False
        if index.ndim != self._encoder.dimensions:
            return False
        self._index = index
        return True

    def _files(self) -> list[Path]:
        return list(self._folder.glob("*.usearch"))

    def __len__(self) -> int:
        return len(self._index)

    def apply(self, changes: Sequence[Change], passages: PassageStore) -> None:
        """Apply changes in order; applying one twice does no harm."""
        for change in changes:
            first, last = change.first_passage, change.last_passage
            numbers = np.arange(first, last + 1)
            held = numbers[self._index.contains(numbers)]
            if len(held):
                self._index.remove(held)
            if change.kind == "add":
                ids, vectors = passages.vectors(self._encoder.name, first, last)
                if len(ids):
                    self._index.add(ids, vectors)
            self.applied = change.seq

    def search(
        self,
        vector: NDArray[np.float32],
        limit: int,
        within: Collection[int] | None = None,
    ) -> dict[int, float]:
        """Cosine similarities of the `limit` nearest passages to a unit vector, best first.

        Args:
            vector: [dimensions].
            within: only these passages may be returned; they are scanned exactly.
        """
        if not len(self._index) or limit < 1:
            return {}
        if within is not None:
            return self._scan(vector, limit, within)
        exact = len(self._index) <= EXACT_LIMIT
        found = self._index.search(vector, min(limit, len(self._index)), exact=exact)
        return self._scan(vector, limit, found.keys.tolist())

    def _scan(
        self, vector: NDArray[np.float32], limit: int, within: Collection[int]
    ) -> dict[int, float]:
        """The best of `within`. All scores come from here, however the hits were found."""
        numbers = np.fromiter(within, np.int64, len(within))
        numbers = numbers[self._index.contains(numbers)] if len(numbers) else numbers
        if not len(numbers):
            return {}
        stored = np.asarray(self._index.get(numbers), np.float32)
        # Not `stored @ vector`: how BLAS rounds a row depends on how many there are.
        similar = np.einsum("ij,j->i", stored, vector)
        best = np.lexsort((numbers, -similar))[:limit]
        return {int(numbers[row]): float(similar[row]) for row in best}

    def save(self) -> None:
        """Write the file if it is behind; the caller holds the lock of the index."""
        if self.applied == self._saved:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        target = self._folder / f"{self.applied}.usearch"
        partial = self._folder / f"{self.applied}.{os.getpid()}.partial"
        self._index.save(str(partial))
        partial.replace(target)
        self._saved = self.applied
        for path in (*self._files(), *self._folder.glob("*.partial")):
            if path != target:
                path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Erase the files; the next `apply` starts from nothing."""
        for path in self._files():
            path.unlink(missing_ok=True)
        self._index = self._empty()
        self.applied = self._saved = 0


def _number(path: Path) -> int:
    return int(path.stem)
