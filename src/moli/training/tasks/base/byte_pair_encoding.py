"""Byte-pair encoding, for the tokenizers of new models."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def train_byte_pair_encoding(
    texts: Iterable[str], vocabulary_size: int, special_tokens: Sequence[str]
) -> Any:
    """A byte-level BPE tokenizer (Sennrich et al. 2016) trained on texts.

    Args:
        special_tokens: tokens that stand for no text; they have the first ids.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=list(special_tokens),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return tokenizer
