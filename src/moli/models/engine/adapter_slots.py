"""The registered adapters: which of them are in memory, and which in the runner's slots."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path

from moli.models.protocols.runner import ModelRunner
from moli.models.weights.lora import LoraAdapter, read_adapter

_MAX_BYTES = 1 << 30  # of adapters that are kept in memory besides those in slots


class AdapterSlots:
    """Any number of adapters, of which as many can be in use at once as the runner has slots.

    Args:
        max_bytes: memory for adapters; those that were used longest ago are dropped, and read from
            disk again when they are needed.
    """

    def __init__(self, runner: ModelRunner, max_bytes: int = _MAX_BYTES) -> None:
        self._runner, self._max_bytes = runner, max_bytes
        self._folders: dict[str, Path] = {}
        self._in_memory: dict[str, LoraAdapter] = {}  # those used longest ago come first
        self._names: list[str] = [""] * runner.adapter_slots  # by slot; "" for an empty one

    def __contains__(self, name: object) -> bool:
        return name in self._folders

    @property
    def bytes(self) -> int:
        """Memory of the adapters, without the slots."""
        return sum(adapter.bytes for adapter in self._in_memory.values())

    def add(self, adapter: LoraAdapter) -> None:
        """Register an adapter; one of the same name is replaced.

        Raises:
            ModelError: it was made for another base.
        """
        self._runner.check_adapter(adapter)
        self._folders[adapter.name] = adapter.folder
        self._keep_in_memory(adapter)
        if adapter.name in self._names:
            self._runner.load_adapter(self._names.index(adapter.name), adapter)

    def acquire_slot(self, name: str, in_use: Set[int]) -> int | None:
        """The slot of an adapter, after it was loaded into one if need be.

        Args:
            name: a registered adapter's name; "" for no adapter.
            in_use: slots of running sequences, which cannot be given to other adapters.

        Returns:
            -1 for no adapter; None if all slots are in use.

        Raises:
            ModelError: it was not in memory, and can no longer be read.
        """
        if not name:
            return -1
        if name in self._names:
            return self._names.index(name)
        free = [slot for slot in range(len(self._names)) if slot not in in_use]
        if not free:
            return None
        # An empty one if there is one, since the adapters in others may be needed again.
        slot = min(free, key=lambda number: self._names[number] != "")
        self._runner.load_adapter(slot, self._read(name))
        self._names[slot] = name
        return slot

    def _read(self, name: str) -> LoraAdapter:
        """A registered adapter, from memory or from disk."""
        known = self._in_memory.get(name)
        adapter = known or read_adapter(self._folders[name], name, self._runner.dtype)
        self._keep_in_memory(adapter)
        return adapter

    def _keep_in_memory(self, adapter: LoraAdapter) -> None:
        """Keep an adapter in memory as the last used, and drop those that no longer fit."""
        self._in_memory.pop(adapter.name, None)
        self._in_memory[adapter.name] = adapter
        while self.bytes > self._max_bytes and len(self._in_memory) > 1:
            del self._in_memory[next(iter(self._in_memory))]
