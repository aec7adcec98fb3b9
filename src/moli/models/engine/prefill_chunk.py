"""A chunk of a prompt that the engine reads in one pass."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PrefillChunk:
    """Tokens `begin` to `end` of a pass, which are consecutive tokens of one sequence.

    Attributes:
        cache_slot: the sequence's slot in the KV cache.
        start: position in the sequence of the first of these tokens.
        adapter_slot: the slot of the sequence's adapter, -1 for none.
    """

    begin: int
    end: int
    cache_slot: int
    start: int
    adapter_slot: int = -1
