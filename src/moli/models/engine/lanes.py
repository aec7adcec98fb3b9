"""The adapters that are there, and which of them lie in the network's lanes."""

from __future__ import annotations

from collections.abc import Set

from moli.models.engine.adapters import Adapter
from moli.models.engine.network import Network


class Lanes:
    """Any number of adapters, as many of which can be at work at once as the network has lanes."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._adapters: dict[str, Adapter] = {}
        self._lanes: list[str] = [""] * network.lanes

    def __contains__(self, name: object) -> bool:
        return name in self._adapters

    def add(self, adapter: Adapter) -> None:
        """Register an adapter; one of that name is replaced.

        Raises:
            ModelError: it was made for another base.
        """
        self._network.check(adapter)
        self._adapters[adapter.name] = adapter
        if adapter.name in self._lanes:
            self._network.write(self._lanes.index(adapter.name), adapter)

    def lane(self, name: str, used: Set[int]) -> int | None:
        """The lane of an adapter (-1 for none), into which it is put if need be.

        Args:
            used: lanes of rows at work, which cannot be given to others.

        Returns:
            None if all lanes are used.
        """
        if not name:
            return -1
        if name in self._lanes:
            return self._lanes.index(name)
        free = [n for n in range(len(self._lanes)) if n not in used]
        if not free:
            return None
        # One that is empty if there is one, for what lies in the others may be asked for again.
        lane = min(free, key=lambda n: self._lanes[n] != "")
        self._network.write(lane, self._adapters[name])
        self._lanes[lane] = name
        return lane
