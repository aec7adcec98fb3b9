"""Tokenizers of new models: byte-pair encoding."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any


def byte_pairs(texts: Iterable[str], vocabulary: int, special: Sequence[str]) -> Any:
    """A byte-level BPE tokenizer (Sennrich et al. 2016) learnt from texts.

    Args:
        special: tokens that are not text; they have the first numbers.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=list(special),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    made.train_from_iterator(texts, trainer)
    return made
