"""Texts as token ids, cut to what a model can read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class Truncator:
    """Texts as token ids of at most a length: what is too long loses its end, not its marks."""

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        self._tokenizer = tokenizer
        self._max = max_length
        plain = tokenizer("a", add_special_tokens=False)["input_ids"]
        marked = tokenizer("a")["input_ids"]
        begin = next(
            (i for i in range(len(marked)) if marked[i : i + len(plain)] == plain), len(marked)
        )
        self._suffix = len(marked) - begin - len(plain)

    def ids(self, texts: Sequence[str]) -> list[tuple[NDArray[np.int32], int]]:
        """For each text its ids, and how many tokens were cut off."""
        if not texts:  # which a tokenizer does not take
            return []
        encoded = self._tokenizer(list(texts), return_attention_mask=False, verbose=False)
        return [self._cut(ids) for ids in encoded["input_ids"]]

    def _cut(self, ids: list[int]) -> tuple[NDArray[np.int32], int]:
        over = len(ids) - self._max
        if over > 0:
            ids = ids[: self._max - self._suffix] + ids[len(ids) - self._suffix :]
        return np.asarray(ids, np.int32), max(over, 0)
