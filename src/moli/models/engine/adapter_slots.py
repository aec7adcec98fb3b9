"""The known adapters: which of them are in memory, and which in the network's lanes."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path

from moli.models.protocols.runner import ModelRunner
from moli.models.weights.lora import Adapter, read_adapter

_ROOM = 1 << 30  # bytes of adapters that are kept in memory beside those in lanes


class Lanes:
    """Any number of adapters, of which as many can be in use at once as the network has lanes.

    Args:
        room: bytes of adapters that are kept in memory; one that was used longer ago is read again
            when it is asked for.
    """

    def __init__(self, network: ModelRunner, room: int = _ROOM) -> None:
        self._network, self._room = network, room
        self._folders: dict[str, Path] = {}
        self._kept: dict[str, Adapter] = {}  # those used longest ago come first
        self._lanes: list[str] = [""] * network.lanes

    def __contains__(self, name: object) -> bool:
        return name in self._folders

    @property
    def bytes(self) -> int:
        """Memory of the adapters beside the lanes."""
        return sum(each.bytes for each in self._kept.values())

    def add(self, adapter: Adapter) -> None:
        """Register an adapter; one of that name is replaced.

        Raises:
            ModelError: it was made for another base.
        """
        self._network.check(adapter)
        self._folders[adapter.name] = adapter.folder
        self._keep(adapter)
        if adapter.name in self._lanes:
            self._network.write(self._lanes.index(adapter.name), adapter)

    def lane(self, name: str, used: Set[int]) -> int | None:
        """The lane of an adapter (-1 for none), into which it is loaded if need be.

        Args:
            used: lanes of rows in progress, which cannot be given to others.

        Returns:
            None if all lanes are used.

        Raises:
            ModelError: it was not in memory, and can no longer be read.
        """
        if not name:
            return -1
        if name in self._lanes:
            return self._lanes.index(name)
        free = [n for n in range(len(self._lanes)) if n not in used]
        if not free:
            return None
        # An empty one if there is one, since what the others hold may be asked for again.
        lane = min(free, key=lambda n: self._lanes[n] != "")
        self._network.write(lane, self._adapter(name))
        self._lanes[lane] = name
        return lane

    def _adapter(self, name: str) -> Adapter:
        known = self._kept.get(name)
        adapter = known or read_adapter(self._folders[name], name, self._network.dtype)
        self._keep(adapter)
        return adapter

    def _keep(self, adapter: Adapter) -> None:
        """Keep it in memory as the last used, and drop those that no longer fit."""
        self._kept.pop(adapter.name, None)
        self._kept[adapter.name] = adapter
        while self.bytes > self._room and len(self._kept) > 1:
            del self._kept[next(iter(self._kept))]
