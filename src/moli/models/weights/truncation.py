"""Texts as token ids, truncated to the length that a model can read."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class TruncatedText(NamedTuple):
    """A text's tokens.

    Attributes:
        dropped: number of tokens that were cut off.
    """

    ids: NDArray[np.int32]
    dropped: int


class Truncator:
    """Tokenizes texts and truncates them to a length; special tokens at their end are kept."""

    def __init__(self, tokenizer: Any, max_length: int) -> None:
        self._tokenizer = tokenizer
        self._max_length = max_length
        plain = tokenizer("a", add_special_tokens=False)["input_ids"]
        complete = tokenizer("a")["input_ids"]
        begin = next(
            (n for n in range(len(complete)) if complete[n : n + len(plain)] == plain),
            len(complete),
        )
        self._suffix = len(complete) - begin - len(plain)  # special tokens after the text

    def truncate(self, texts: Sequence[str]) -> list[TruncatedText]:
        """Token ids of texts, at most `max_length` of each."""
        if not texts:  # a tokenizer does not take an empty list
            return []
        encoded = self._tokenizer(list(texts), return_attention_mask=False, verbose=False)
        return [self._truncate(ids) for ids in encoded["input_ids"]]

    def _truncate(self, ids: list[int]) -> TruncatedText:
        """Cut off tokens of a text that is too long, but keep the special tokens at its end."""
        excess = len(ids) - self._max_length
        if excess > 0:
            ids = ids[: self._max_length - self._suffix] + ids[len(ids) - self._suffix :]
        return TruncatedText(np.asarray(ids, np.int32), max(excess, 0))
