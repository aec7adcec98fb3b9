"""Metrics of language models, computed from the summed negative log-likelihood in nats."""

from __future__ import annotations

import math

from moli.records.errors import InputError


def perplexity(nats: float, tokens: int) -> float:
    """The exponential of the mean loss per token; comparable with the same tokenizer only.

    Raises:
        InputError: there are no tokens.
    """
    if tokens < 1:
        raise InputError("no token was scored", fix="Give a text that is not empty.")
    try:
        return math.exp(nats / tokens)
    except OverflowError:
        return math.inf


def bits_per_byte(nats: float, size: int) -> float:
    """Mean loss per byte of text, in bits; comparable across tokenizers.

    Args:
        size: bytes of the scored text in UTF-8.

    Raises:
        InputError: there are no bytes.
    """
    if size < 1:
        raise InputError("no byte was scored", fix="Give a text that is not empty.")
    return nats / math.log(2) / size
