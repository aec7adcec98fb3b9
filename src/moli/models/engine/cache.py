"""Keys and values of every row that is being answered, and of some that were."""

from __future__ import annotations

import torch

_FIRST = 256  # places that rows begin with


class Cache:
    """For each layer, keys and values as [slots, K, places, D].

    Every slot has as many places as the longest row needs. On a CPU that costs what is written:
    the kernel gives memory to a page only when it is touched.

    Args:
        slots: rows that there may be, with those kept for their beginnings.
    """

    def __init__(self, slots: int, most: int) -> None:
        self.slots = slots
        self.places = min(_FIRST, most)
        self._most = most
        self._layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}

    def layer(
        self, number: int, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """A layer's keys and values; made when the layer's first are there, [1, K, T, D]."""
        if number not in self._layers:
            self._layers[number] = (self._empty(key), self._empty(value))
        return self._layers[number]

    def _empty(self, like: torch.Tensor) -> torch.Tensor:
        # Zeros, not what is there: hidden places are multiplied by 0, and 0 * nan is nan.
        return like.new_zeros(self.slots, like.shape[1], self.places, like.shape[3])

    def reserve(self, places: int) -> None:
        """Make room for a row of so many tokens."""
        if places <= self.places:
            return
        while self.places < places:
            self.places *= 2
        self.places = min(self.places, self._most)
        for number, pair in self._layers.items():
            longer = []
            for old in pair:
                new = old.new_zeros(self.slots, old.shape[1], self.places, old.shape[3])
                new[:, :, : old.shape[2]] = old
                longer.append(new)
            self._layers[number] = (longer[0], longer[1])

    def copy(self, source: int, target: int, length: int) -> None:
        """The first tokens of one row to another slot."""
        for pair in self._layers.values():
            for each in pair:
                each[target, :, :length] = each[source, :, :length]

    def swap(self, one: int, other: int, length: int) -> None:
        """The first tokens of two rows, each to the other's slot."""
        for pair in self._layers.values():
            for each in pair:
                kept = each[one, :, :length].clone()
                each[one, :, :length] = each[other, :, :length]
                each[other, :, :length] = kept
