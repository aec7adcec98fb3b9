"""Keys and values of every row that is being answered, and of some already answered."""

from __future__ import annotations

import math

import numpy as np
import torch

from moli.models.protocols.kv_cache import Growing


class Cache(Growing):
    """For each layer, keys and values as [slots, K, places, D].

    On a CPU only what is written costs memory: the kernel backs a page only when it is touched.
    """

    def __init__(self, slots: int, most: int, room: int | None = None) -> None:
        self._layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        super().__init__(slots, most, room)

    @property
    def bytes(self) -> int:
        """Memory of all layers, touched or not."""
        return sum(each.nbytes for pair in self._layers.values() for each in pair)

    def layer(
        self, number: int, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """A layer's keys and values; made when the layer's first ones, [1, K, T, D], arrive."""
        if number not in self._layers:
            self._layers[number] = (self._zeros(key), self._zeros(value))
        return self._layers[number]

    def _zeros(self, like: torch.Tensor) -> torch.Tensor:
        # Zeros, not whatever memory holds: hidden places are multiplied by 0, and 0 * nan is nan.
        shape = (self.slots, like.shape[1], self.places, like.shape[3])
        if like.device.type != "cpu":
            return like.new_zeros(shape)
        # PyTorch would write them; NumPy lets the kernel supply zero pages on first touch.
        zeros = np.zeros(math.prod(shape) * like.itemsize, np.uint8)
        return torch.from_numpy(zeros).view(like.dtype).view(shape)

    def _grow(self) -> None:
        for number, pair in self._layers.items():
            longer = []
            for old in pair:
                new = self._zeros(old)
                new[:, :, : old.shape[2]] = old[: self.slots]
                longer.append(new)
            self._layers[number] = (longer[0], longer[1])

    def _empty(self) -> None:
        self._layers.clear()

    def usable(self, slot: int, length: int) -> bool:  # noqa: ARG002 - every part of it is
        return True

    def copy(self, source: int, target: int, length: int) -> None:
        for pair in self._layers.values():
            for each in pair:
                each[target, :, :length] = each[source, :, :length]

    def swap(self, one: int, other: int, length: int) -> None:
        for pair in self._layers.values():
            for each in pair:
                kept = each[one, :, :length].clone()
                each[one, :, :length] = each[other, :, :length]
                each[other, :, :length] = kept
