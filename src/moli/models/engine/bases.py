"""Bases at work: each is loaded once in a process, whoever asks for it."""

from __future__ import annotations

import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from moli.models.probe import available_memory
from moli.models.text import load_tokenizer, places_of

if TYPE_CHECKING:
    import torch

    from moli.models.engine.worker import Worker


@dataclass(frozen=True, slots=True)
class Base:
    """A base at work.

    Attributes:
        places: tokens of a conversation at most, its answer included.
    """

    worker: Worker
    tokenizer: Any
    places: int


def load_base(reference: str, *, lanes: int = 16) -> Base:
    """A base by its reference; with `lanes` for adapters of rows at work.

    Raises:
        ModelError: it cannot be loaded, or does not write.
    """
    from moli.models.engine.engine import Engine
    from moli.models.engine.network import load_network
    from moli.models.engine.worker import Worker

    tokenizer = load_tokenizer(reference)
    places = places_of(reference, tokenizer)
    network = load_network(reference, lanes=lanes)
    engine = Engine(network, tokenizer, places=places, memory=_free(network.device) // 2)
    return Base(Worker(engine), tokenizer, places)


def _free(device: torch.device) -> int:
    """Bytes that may still be taken where a model is."""
    if device.type == "cuda":
        import torch

        return int(torch.cuda.mem_get_info(device)[0])
    return available_memory()


class Bases:
    """Those that were asked for."""

    def __init__(self) -> None:
        self._loaded: dict[str, Base] = {}
        self._turn = threading.Lock()

    def get(self, reference: str) -> Base:
        """A base, loaded if it is not yet.

        Raises:
            ModelError: it cannot be loaded, or does not write.
        """
        with self._turn:
            if reference not in self._loaded:
                self._loaded[reference] = load_base(reference)
            return self._loaded[reference]

    def waiting(self) -> int:
        """Requests that no base has begun yet."""
        return sum(base.worker.waiting for base in list(self._loaded.values()))

    def working(self) -> int:
        """Requests that are read or answered."""
        return sum(base.worker.working for base in list(self._loaded.values()))

    def close(self) -> None:
        """Stop all."""
        for base in self._loaded.values():
            base.worker.close()
