"""The cache of keys and values that a model runner keeps for its sequences."""

from __future__ import annotations

from abc import ABC, abstractmethod

_FIRST = 256  # places that rows begin with


class Growing(ABC):
    """Slots for what rows have read, each as long as the longest row needs.

    All slots have as many places as that row needs, and there are as many slots as then fit.

    Args:
        slots: how many rows there may be, including those kept for their beginnings.
        most: maximum tokens of a row.
        room: tokens of all slots together; None for no limit.

    Attributes:
        slots, places: how many slots there are now, and places in each.
    """

    def __init__(self, slots: int, most: int, room: int | None = None) -> None:
        self._most_slots, self._most, self._room = slots, most, room
        self.slots = self.places = 0
        self.clear()

    @property
    def narrowed(self) -> bool:
        """Whether a row was so long that there are fewer slots than there might be."""
        return self.places > min(_FIRST, self._most) and self.slots < self._most_slots

    def slots_for(self, places: int) -> int:
        """How many slots there would be if a row needed this many places."""
        if self._room is None:
            return self._most_slots
        return min(self._most_slots, self._room // self._rounded(places))

    def _rounded(self, places: int) -> int:
        """Places to take where so many are needed: doubled until they suffice."""
        rounded = min(max(self.places, _FIRST), self._most)
        while rounded < places:
            rounded *= 2
        return min(rounded, self._most)

    def reserve(self, places: int) -> None:
        """Make room for a row of this many tokens; slots that no longer fit are gone."""
        if places > self.places:
            self.slots, self.places = self.slots_for(places), self._rounded(places)
            self._grow()

    def clear(self) -> None:
        """Give all memory back; what the slots held is gone."""
        self.places = 0
        self.places = self._rounded(1)
        self.slots = self.slots_for(1)
        self._empty()

    @abstractmethod
    def _grow(self) -> None:
        """Resize to the current `slots` and `places`, keeping the contents."""

    @abstractmethod
    def _empty(self) -> None:
        """Resize to the current `slots` and `places`, with nothing in them."""

    @abstractmethod
    def usable(self, slot: int, length: int) -> bool:
        """Whether a row can continue from the first tokens of what a slot holds."""

    @abstractmethod
    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the first tokens of one row to another slot."""

    @abstractmethod
    def swap(self, one: int, other: int, length: int) -> None:
        """Move the first tokens of two rows, each to the other's slot."""
