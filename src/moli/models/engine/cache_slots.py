"""Cache slots: which sequence has which, and which prefixes of earlier sequences can be reused.

Running sequences have the first slots, so that a pass reads them as one tensor. The tokens of ended
sequences stay cached behind them until their slot is needed.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moli.models.protocols.kv_cache import KVCache


@dataclass(slots=True)
class CachedTokens:
    """The tokens whose keys and values a slot holds.

    Attributes:
        namespace: only sequences of the same namespace (an adapter's content and a reader's rights)
            share cached tokens.
        last_used: time of the last use, counted in allocations.
    """

    namespace: Hashable
    token_ids: NDArray[np.int32]
    last_used: int = 0


@dataclass(frozen=True, slots=True)
class CachedPrefix:
    """The slot that holds the first `length` tokens of a sequence; -1 if no slot holds any."""

    slot: int
    length: int


@dataclass(frozen=True, slots=True)
class Allocation:
    """A slot for a sequence.

    Attributes:
        cached_tokens: how many of the sequence's first tokens the slot holds already.
    """

    slot: int
    cached_tokens: int


class CacheSlots:
    """The slots of a KV cache, and which tokens each of them holds.
    Attributes:
        in_use: number of slots of running sequences, which are the first ones.
    """

    def __init__(self, cache: KVCache) -> None:
        self._cache = cache
        self._contents: list[CachedTokens | None] = [None] * cache.slots
        self._clock = 0
        self.in_use = 0

    def reserve(self, length: int) -> None:
        """Make room for sequences of this many tokens, which may drop cached prefixes."""
        self._cache.reserve(length)
        del self._contents[self._cache.slots :]

    def allocate(self, namespace: Hashable, token_ids: NDArray[np.int32]) -> Allocation:
        """Give a sequence a slot, with the longest cached prefix, but never all of its tokens."""
        slot, self._clock = self.in_use, self._clock + 1
        prefix = self._longest_prefix(namespace, token_ids)
        source, shared = prefix.slot, prefix.length
        if source != slot:
            self._vacate(slot, source)
            if shared:
                self._cache.copy(source, slot, shared)
        if source >= 0 and (contents := self._contents[source]):
            contents.last_used = self._clock
        self._contents[slot] = CachedTokens(namespace, token_ids[:shared], self._clock)
        self.in_use += 1
        return Allocation(slot, shared)

    def record_tokens(self, slot: int, token_ids: NDArray[np.int32]) -> None:
        """Record the tokens that a running sequence's slot holds after the next pass."""
        contents = self._contents[slot]
        assert contents is not None  # noqa: S101 - it was allocated
        contents.token_ids = token_ids

    def free(self, slot: int) -> int:
        """Free a running sequence's slot; its tokens stay cached.

        Returns:
            The slot of the sequence that has moved to `slot`, so that no gap is left.
        """
        last = self.in_use - 1
        freed, moved = self._contents[slot], self._contents[last]
        if slot != last:
            assert freed is not None  # noqa: S101
            assert moved is not None  # noqa: S101
            self._cache.swap(slot, last, max(len(freed.token_ids), len(moved.token_ids)))
            self._contents[slot], self._contents[last] = moved, freed
        self.in_use = last
        return last

    def forget_prefixes(self) -> None:
        """Never reuse what is cached now; without running sequences, also release its memory."""
        for contents in self._contents[: self.in_use]:
            if contents:
                contents.namespace = object()  # the sequence continues, and shares with none
        for slot in range(self.in_use, len(self._contents)):
            self._contents[slot] = None
        if not self.in_use:
            self._cache.clear()
            self._contents = [None] * self._cache.slots

    def _longest_prefix(self, namespace: Hashable, token_ids: NDArray[np.int32]) -> CachedPrefix:
        """The longest cached prefix of a sequence, without its last token."""
        longest, source = 0, -1
        for slot, contents in enumerate(self._contents):
            if contents and contents.namespace == namespace:
                limit = min(len(contents.token_ids), len(token_ids) - 1)
                differing = np.flatnonzero(contents.token_ids[:limit] != token_ids[:limit])
                shared = int(differing[0]) if len(differing) else limit
                # If equally good, the next free slot, since then nothing has to be copied.
                is_free = shared == longest and shared and slot == self.in_use
                if (shared > longest or is_free) and self._cache.can_reuse(slot, shared):
                    longest, source = shared, slot
        return CachedPrefix(source, longest)

    def _vacate(self, slot: int, source: int) -> None:
        """Move the tokens of a free slot to the free slot that was used longest ago.

        Args:
            source: a slot that must stay as it is.
        """
        contents = self._contents[slot]
        if contents is None:
            return
        others = [n for n in range(slot + 1, len(self._contents)) if n != source]

        def last_used(number: int) -> int:
            """Time of the last use of a slot; -1 if the slot is empty."""
            other = self._contents[number]
            return other.last_used if other else -1

        oldest = min(others, key=last_used, default=slot)
        if oldest != slot and last_used(oldest) < contents.last_used:
            self._cache.copy(slot, oldest, len(contents.token_ids))
            self._contents[oldest] = contents
        self._contents[slot] = None
