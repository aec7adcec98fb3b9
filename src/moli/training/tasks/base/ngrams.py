"""Texts as TF-IDF vectors of n-grams, for which no model has to know the language.

In scripts without spaces, n-grams are of 1 to 3 characters. Elsewhere they are the words, and 2 to
4 characters within a word and its ends.
"""

from __future__ import annotations

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

# Han, kana and Thai, which are written without spaces.
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0002fa1f\u0e00-\u0e7f"
_RUN = re.compile(rf"(?P<unspaced>[{_UNSPACED}]+)|[^\W_{_UNSPACED}]+|[!?！？]")
_UNSPACED_LENGTHS, _SPACED_LENGTHS = (1, 2, 3), (2, 3, 4)
MAX_WEIGHTS = 4_000_000  # of a classifier: one for each class and each of the most frequent n-grams
_MAX_CHARACTERS = 5_000  # of a text that are read


@dataclass(frozen=True)
class NgramVocabulary:
    """The n-grams that occur in training texts, with their weights.

    Attributes:
        ngrams: sorted.
        idf: their inverse document frequencies, smoothed as scikit-learn does, [n-grams].
    """

    ngrams: tuple[str, ...]
    idf: NDArray[np.float32]

    @classmethod
    def of(cls, texts: Sequence[str], limit: int) -> NgramVocabulary:
        """The vocabulary of some texts, of the `limit` n-grams that most of them have."""
        frequencies = Counter(ngram for text in texts for ngram in set(ngrams_of(text)))
        chosen = sorted(frequencies, key=lambda ngram: (-frequencies[ngram], ngram))
        ngrams = tuple(sorted(chosen[:limit]))
        idf = [math.log((1 + len(texts)) / (1 + frequencies[ngram])) + 1 for ngram in ngrams]
        return cls(ngrams, np.array(idf, np.float32))

    @cached_property
    def _ids(self) -> dict[str, int]:
        """Index of each n-gram."""
        return {ngram: index for index, ngram in enumerate(self.ngrams)}

    def ids_of(self, text: str) -> NDArray[np.int32]:
        """Indices of a text's n-grams with repetitions, without those that are unknown."""
        known = (self._ids.get(ngram, -1) for ngram in ngrams_of(text))
        return np.array([index for index in known if index >= 0], np.int32)

    def vectors_of(self, texts: Sequence[NDArray[np.int32]]) -> torch.Tensor:
        """TF-IDF vectors of texts given by `ids_of`, sparse: [texts, n-grams].

        A count counts by 1 + its logarithm; vectors have the length 1, or 0 without a known n-gram.
        """
        rows, columns, values = [], [], []
        for row, ids in enumerate(texts):
            unique, counts = np.unique(ids, return_counts=True)
            weights = (1 + np.log(counts)) * self.idf[unique]
            rows.append(np.full(len(unique), row))
            columns.append(unique)
            values.append(weights / max(float(np.linalg.norm(weights)), 1e-12))
        indices = np.stack([np.concatenate(rows), np.concatenate(columns)]).astype(np.int64)
        return torch.sparse_coo_tensor(
            torch.from_numpy(indices),
            torch.from_numpy(np.concatenate(values).astype(np.float32)),
            (len(texts), len(self.ngrams)),
            is_coalesced=True,
            check_invariants=False,
        )


def ngrams_of(text: str) -> Iterator[str]:
    """The n-grams of a text, with repetitions."""
    folded = unicodedata.normalize("NFKC", text[:_MAX_CHARACTERS]).casefold()
    for match in _RUN.finditer(folded):
        run = match.group()
        if match.lastgroup == "unspaced":
            yield from _substrings(run, _UNSPACED_LENGTHS)
        else:
            yield f" {run} "
            yield from _substrings(f" {run} ", _SPACED_LENGTHS)


def _substrings(text: str, lengths: Sequence[int]) -> Iterator[str]:
    """All substrings that have one of these lengths."""
    for length in lengths:
        yield from (text[start : start + length] for start in range(len(text) - length + 1))
