"""The dense index: cosine similarity, by exact scan while small and by an HNSW graph when large."""

from __future__ import annotations

import hashlib
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
from moli.records.file_names import file_name_text
from moli.records.files import remove_drafts, whole_file
from moli.workspace.passages import PassageStore

# An exact scan of 50,000 vectors takes about 2 ms; beyond that the graph is faster.
EXACT_LIMIT = 50_000
# Depth of the graph search (Malkov & Yashunin 2018, `ef`).
_SEARCH_EXPANSION = 256


class DenseIndex:
    """Vectors of one encoder in memory, with a file that speeds up the next start.

    The file's name is the number of the last change in it; it is written whole and then renamed,
    so an existing file is complete.

    Attributes:
        applied: number of the last change in the change log that was applied.
    """

    def __init__(self, folder: Path, encoder: Encoder) -> None:
        digest = hashlib.sha256(encoder.name.encode()).hexdigest()[:16]
        self._folder = folder / digest
        self._encoder = encoder
        self.applied = 0
        self._saved = 0
        self._index = self._new_index()
        for path in sorted(self._files(), key=_change_number, reverse=True):
            if self._load(path):
                self.applied = self._saved = _change_number(path)
                break

    def _new_index(self) -> Index:
        """An empty index of passage ids and vectors."""
        return Index(
            ndim=self._encoder.dimensions,
            metric="ip",
            dtype="f16",
            expansion_search=_SEARCH_EXPANSION,
        )

    def _load(self, path: Path) -> bool:
        """Load a file, and return False if it is damaged or was just removed."""
        index = self._new_index()
        try:
            index.load(file_name_text(path))
        except (RuntimeError, OSError, ValueError):
            return False
        if index.ndim != self._encoder.dimensions:
            return False
        self._index = index
        return True

    def _files(self) -> list[Path]:
        """Saved files of the index."""
        return list(self._folder.glob("*.usearch"))

    def __len__(self) -> int:
        return len(self._index)

    def apply(self, changes: Sequence[Change], passages: PassageStore) -> None:
        """Apply changes in order; applying a change twice does no harm."""
        for change in changes:
            first, last = change.first_passage, change.last_passage
            numbers = np.arange(first, last + 1)
            indexed = numbers[self._index.contains(numbers)]
            if len(indexed):
                self._index.remove(indexed)
            if change.kind == "add":
                ids, vectors = passages.vectors(self._encoder.name, first, last)
                if len(ids):
                    self._index.add(ids, vectors)
            self.applied = change.seq

    def search(
        self,
        vector: NDArray[np.float32],
        limit: int,
        allowed_ids: Collection[int] | None = None,
    ) -> dict[int, float]:
        """Cosine similarities of the `limit` passages nearest to a unit vector, best first, by id.

        Args:
            vector: [dimensions].
            allowed_ids: only these passages may be returned; they are scanned exactly. None
                allows all.
        """
        if not len(self._index) or limit < 1:
            return {}
        if allowed_ids is not None:
            return self._scan(vector, limit, allowed_ids)
        exact = len(self._index) <= EXACT_LIMIT
        matches = self._index.search(vector, min(limit, len(self._index)), exact=exact)
        return self._scan(vector, limit, matches.keys.tolist())

    def _scan(
        self, vector: NDArray[np.float32], limit: int, allowed_ids: Collection[int]
    ) -> dict[int, float]:
        """Cosine similarities of the `limit` nearest allowed passages by id, from an exact scan."""
        # A search beside additions can return a key that is half written; it is left out below.
        numbers = np.fromiter(allowed_ids, np.uint64, len(allowed_ids))
        numbers = numbers[self._index.contains(numbers)] if len(numbers) else numbers
        if not len(numbers):
            return {}
        stored = np.asarray(self._index.get(numbers), np.float32)
        # Not `stored @ vector`: how BLAS rounds a row depends on how many there are.
        similarities = np.einsum("ij,j->i", stored, vector)
        best = np.lexsort((numbers, -similarities))[:limit]
        return {int(numbers[row]): float(similarities[row]) for row in best}

    def save(self) -> None:
        """Write the file if it is outdated; the caller holds the lock of the index."""
        if self.applied == self._saved:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        target = self._folder / f"{self.applied}.usearch"
        with whole_file(target) as draft:
            self._index.save(file_name_text(draft))
        self._saved = self.applied
        remove_drafts(self._folder)
        for path in self._files():
            if path != target:
                path.unlink(missing_ok=True)

    def clear(self) -> None:
        """Erase the index and its files; the next `apply` starts with an empty one."""
        for path in self._files():
            path.unlink(missing_ok=True)
        self._index = self._new_index()
        self.applied = self._saved = 0


def _change_number(path: Path) -> int:
    """Number of the last change in a file."""
    return int(path.stem)
