"""Keys and values of running sequences, and of some that have ended, as torch tensors."""

from __future__ import annotations

import math
import mmap

import torch

from moli.models.protocols.kv_cache import KVCache


class TorchKVCache(KVCache):
    """A KV cache of tensors: for each layer keys and values, both [slots, K, slot length, D].

    On a CPU only the tokens in it cost memory: the kernel backs a page only when it is touched.
    """

    def __init__(self, max_slots: int, max_model_len: int, max_tokens: int | None = None) -> None:
        self._layers: dict[int, tuple[torch.Tensor, torch.Tensor]] = {}
        super().__init__(max_slots, max_model_len, max_tokens)

    @property
    def bytes(self) -> int:
        """Memory of all layers, touched or not."""
        return sum(tensor.nbytes for pair in self._layers.values() for tensor in pair)

    def layer(
        self, number: int, key: torch.Tensor, value: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Cached keys and values of a layer.

        Args:
            number: number of the layer.
            key, value: new keys and values [1, K, T, D], like which the cache is allocated if the
                layer has none yet.
        """
        if number not in self._layers:
            self._layers[number] = (self._zeros(key), self._zeros(value))
        return self._layers[number]

    def _zeros(self, like: torch.Tensor) -> torch.Tensor:
        """An empty cache for keys or values [..., K, ..., D]."""
        # Zeros, not whatever memory holds: hidden tokens are multiplied by 0, and 0 * nan is nan.
        shape = (self.slots, like.shape[1], self.slot_length, like.shape[3])
        if like.device.type != "cpu":
            return like.new_zeros(shape)
        zeros = _untouched_zeros(math.prod(shape) * like.itemsize)
        return torch.frombuffer(zeros, dtype=like.dtype).view(shape)

    def _resize(self) -> None:
        """Resize to the current `slots` and `slot_length`, keeping the contents."""
        for number, pair in self._layers.items():
            resized = []
            for old in pair:
                new = self._zeros(old)
                new[:, :, : old.shape[2]] = old[: self.slots]
                resized.append(new)
            self._layers[number] = (resized[0], resized[1])

    def _reset(self) -> None:
        """Drop all tensors; `layer` allocates new ones when they are needed."""
        self._layers.clear()

    def can_reuse(self, slot: int, length: int) -> bool:  # noqa: ARG002 - any prefix can be
        """True: any prefix of a slot can be continued."""
        return True

    def copy(self, source: int, target: int, length: int) -> None:
        """Copy the first `length` tokens of one slot to another."""
        for pair in self._layers.values():
            for tensor in pair:
                tensor[target, :, :length] = tensor[source, :, :length]

    def swap(self, first: int, second: int, length: int) -> None:
        """Exchange the first `length` tokens of two slots."""
        for pair in self._layers.values():
            for tensor in pair:
                saved = tensor[first, :, :length].clone()
                tensor[first, :, :length] = tensor[second, :, :length]
                tensor[second, :, :length] = saved


def _untouched_zeros(size: int) -> mmap.mmap:
    """Memory that reads as zeros, and that the system supplies page by page on first touch.

    NumPy would ask Linux for huge pages: one of them, 2 MB, holds thousands of tokens of a head, so
    a sequence's first token would cost as much as thousands.
    """
    if not hasattr(mmap, "MADV_NOHUGEPAGE"):  # not Linux
        return mmap.mmap(-1, size)
    zeros = mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    zeros.madvise(mmap.MADV_NOHUGEPAGE)
    return zeros
