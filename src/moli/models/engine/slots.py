"""Which row has which slot of the cache, and which earlier prompts can be reused.

Rows in use have the first slots, so that a pass reads them as one tensor. What a row has read stays
behind them until its slot is needed.
"""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from moli.models.protocols.kv_cache import Growing


@dataclass(slots=True)
class Held:
    """Tokens that a slot has keys and values of.

    Attributes:
        space: only rows of the same space (an adapter's content, a reader's rights) share them.
        used: when it was last used, counted in admissions.
    """

    space: Hashable
    ids: NDArray[np.int32]
    used: int = 0


class Slots:
    """The slots of a cache.

    Attributes:
        taken: how many rows are in use.
    """

    def __init__(self, cache: Growing) -> None:
        self._cache = cache
        self._held: list[Held | None] = [None] * cache.slots  # none beyond the cache's slots
        self._clock = 0
        self.taken = 0

    def reserve(self, places: int) -> None:
        """Make room for rows of this many tokens; some of what is kept may have to go."""
        self._cache.reserve(places)
        del self._held[self._cache.slots :]

    def take(self, space: Hashable, ids: NDArray[np.int32]) -> tuple[int, int]:
        """A slot for a row, and how many of its first tokens it has already, never all of them."""
        slot, self._clock = self.taken, self._clock + 1
        source, shared = self._longest(space, ids)
        if source != slot:
            self._vacate(slot, source)
            if shared:
                self._cache.copy(source, slot, shared)
        if source >= 0 and (held := self._held[source]):
            held.used = self._clock
        self._held[slot] = Held(space, ids[:shared], self._clock)
        self.taken += 1
        return slot, shared

    def fill(self, slot: int, ids: NDArray[np.int32]) -> None:
        """Note the tokens that a slot has now."""
        held = self._held[slot]
        assert held is not None  # noqa: S101 - it was taken
        held.ids = ids

    def release(self, slot: int) -> int:
        """Give a row's slot back. The row with the slot returned is in `slot` from now on."""
        last = self.taken - 1
        one, other = self._held[slot], self._held[last]
        if slot != last:
            assert one is not None  # noqa: S101
            assert other is not None  # noqa: S101
            self._cache.swap(slot, last, max(len(one.ids), len(other.ids)))
            self._held[slot], self._held[last] = other, one
        self.taken = last
        return last

    def forget(self) -> None:
        """Never reuse what has been read; if there are no rows, give its memory back."""
        for held in self._held[: self.taken]:
            if held:
                held.space = object()  # a row continues, and shares with nobody
        for slot in range(self.taken, len(self._held)):
            self._held[slot] = None
        if not self.taken:
            self._cache.clear()
            self._held = [None] * self._cache.slots

    def _longest(self, space: Hashable, ids: NDArray[np.int32]) -> tuple[int, int]:
        best, source = 0, -1
        for slot, held in enumerate(self._held):
            if held and held.space == space:
                most = min(len(held.ids), len(ids) - 1)
                differ = np.flatnonzero(held.ids[:most] != ids[:most])
                shared = int(differ[0]) if len(differ) else most
                # If equally good, the slot to be taken, since then nothing has to be copied.
                better = shared > best or (shared == best and shared and slot == self.taken)
                if better and self._cache.usable(slot, shared):
                    best, source = shared, slot
        return source, best

    def _vacate(self, slot: int, source: int) -> None:
        """Move what a free slot holds to the one whose content was used longest ago."""
        held = self._held[slot]
        if held is None:
            return
        others = [n for n in range(slot + 1, len(self._held)) if n != source]

        def age(number: int) -> int:
            there = self._held[number]
            return there.used if there else -1

        oldest = min(others, key=age, default=slot)
        if oldest != slot and age(oldest) < held.used:
            self._cache.copy(slot, oldest, len(held.ids))
            self._held[oldest] = held
        self._held[slot] = None
