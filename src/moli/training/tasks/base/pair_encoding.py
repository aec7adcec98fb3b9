"""Pairs of texts as one sequence each, as cross-encoders read them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from moli.training.batching.samples import Tokens


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """Two texts as one sequence.

    Attributes:
        token_types: 0 for tokens of the first text, 1 for the second; None without types.
        truncated: number of tokens that were cut off.
    """

    ids: Tokens
    token_types: Tokens | None
    truncated: int


def encode_pairs(
    tokenizer: Any, pairs: Sequence[tuple[str, str]], max_length: int
) -> list[EncodedPair]:
    """Pairs of texts as sequences of at most a maximum length."""
    if not pairs:
        return []
    encoded = tokenizer(*map(list, zip(*pairs, strict=True)), verbose=False)
    all_types = encoded.get("token_type_ids")
    result = []
    for index, ids in enumerate(encoded["input_ids"]):
        types, truncated = all_types and all_types[index], len(ids) - max_length
        if truncated > 0:  # the longer of the two loses its end
            cut = tokenizer(*pairs[index], truncation=True, max_length=max_length)
            ids, types = cut["input_ids"], cut.get("token_type_ids")
        types = np.asarray(types, np.int32) if all_types else None
        result.append(EncodedPair(np.asarray(ids, np.int32), types, max(truncated, 0)))
    return result
