"""The cache of keys and values that a model runner keeps for its sequences."""

from __future__ import annotations

from abc import ABC, abstractmethod

_FIRST_SLOT_LENGTH = 256  # tokens that slots have room for at first


class KVCache(ABC):
    """Slots for the keys and values of sequences.

    All slots have the same length, which grows with the longest sequence so far. There are as many
    slots as fit into `max_tokens`, and at most `max_slots`.

    Args:
        max_slots: maximum number of slots, including those that keep the prefixes of earlier
            sequences.
        max_model_len: maximum tokens of a sequence.
        max_tokens: maximum tokens of all slots together; None for no limit.

    Attributes:
        slots: current number of slots.
        slot_length: tokens that every slot has room for at present.
    """

    def __init__(self, max_slots: int, max_model_len: int, max_tokens: int | None = None) -> None:
        self._max_slots, self._max_model_len = max_slots, max_model_len
        self._max_tokens = max_tokens
        self.slots = self.slot_length = 0
        self.clear()

    @property
    def has_fewer_slots(self) -> bool:
        """Whether there are fewer than `max_slots`, since a sequence needed very long slots."""
        lengthened = self.slot_length > min(_FIRST_SLOT_LENGTH, self._max_model_len)
        return lengthened and self.slots < self._max_slots

    def slots_for(self, length: int) -> int:
        """Number of slots that there would be if a sequence needed room for `length` tokens."""
        if self._max_tokens is None:
            return self._max_slots
        return min(self._max_slots, self._max_tokens // self._slot_length_for(length))

    def _slot_length_for(self, length: int) -> int:
        """Slot length for a sequence of `length` tokens: the current one, doubled until it fits."""
        slot_length = min(max(self.slot_length, _FIRST_SLOT_LENGTH), self._max_model_len)
        while slot_length < length:
            slot_length *= 2
        return min(slot_length, self._max_model_len)

    def reserve(self, length: int) -> None:
        """Make room for a sequence of `length` tokens; slots that no longer fit are dropped."""
        if length > self.slot_length:
            self.slots, self.slot_length = self.slots_for(length), self._slot_length_for(length)
            self._resize()

    def clear(self) -> None:
        """Drop the contents of all slots and release their memory."""
        self.slot_length = 0
        self.slot_length = self._slot_length_for(1)
        self.slots = self.slots_for(1)
        self._reset()

    @abstractmethod
    def _resize(self) -> None:
        """Resize to the current `slots` and `slot_length`, keeping the contents."""

    @abstractmethod
    def _reset(self) -> None:
        """Resize to the current `slots` and `slot_length`, dropping the contents."""

    @abstractmethod
    def can_reuse(self, slot: int, length: int) -> bool:
        """Whether a sequence can continue from the first `length` tokens of a slot."""

    @abstractmethod
    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` tokens of one slot to another."""

    @abstractmethod
    def swap(self, first: int, second: int, length: int) -> None:
        """Exchange the first `length` tokens of two slots."""
