"""Bases in use: each is loaded once per process, or runs on another server."""

from __future__ import annotations

import os
import threading
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from moli.models.protocols.backend import Backend
from moli.models.tokenizers import load_tokenizer, places_of
from moli.models.weights.loading import is_gguf
from moli.models.weights.reference import ModelReference
from moli.workspace.settings import BACKEND_KEY

if TYPE_CHECKING:
    from moli.models.protocols.runner import Passes


@dataclass(frozen=True, slots=True)
class Base:
    """A base in use.

    Attributes:
        places: maximum tokens of a conversation, including the answer.
        here: whether its weights are on this machine.
    """

    backend: Backend
    tokenizer: Any
    places: int
    here: bool = True

    def within(self, wanted: int) -> int:
        """Tokens an answer may have: those wanted, but half of the places are for the prompt."""
        return within(self.places, wanted)


def within(places: int, wanted: int) -> int:
    """As `Base.within`, of so many places."""
    return min(wanted, places // 2)


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """A base that a vLLM or SGLang server runs.

    Attributes:
        reference: the base's; its tokenizer is needed here.
        timeout: seconds of silence from the server after which an answer has failed.
    """

    reference: str
    kind: Literal["vllm", "sglang"]
    url: str
    timeout: float = 120.0


def load_base(reference: str, *, rows: int = 16, lanes: int = 16) -> Base:
    """A base by its reference, answering `rows` at once, with `lanes` for their adapters.

    Raises:
        ModelError: it cannot be loaded, or does not generate text.
    """
    from moli.models.engine.engine import Engine
    from moli.models.engine.worker import Worker

    tokenizer = load_tokenizer(reference)
    places = places_of(reference, tokenizer)
    network = _network(reference, lanes)
    engine = Engine(network, tokenizer, rows=rows, places=places, memory=network.free() // 2)
    return Base(Worker(engine), tokenizer, places)


def _network(reference: str, lanes: int) -> Passes:
    if is_gguf(reference):
        from moli.models.gguf.runner import load_gguf

        return load_gguf(ModelReference.parse(reference).name)
    from moli.models.engine.transformers_runner import load_network

    return load_network(reference, lanes=lanes)


def _drive(base: Elsewhere) -> Base:
    from moli.models.remote.backend import RemoteBackend

    key = os.environ.get(BACKEND_KEY, "")
    backend = RemoteBackend(base.url, base.reference, kind=base.kind, key=key, timeout=base.timeout)
    tokenizer = load_tokenizer(base.reference)
    return Base(backend, tokenizer, backend.facts.places, here=False)


class Bases:
    """The bases that were asked for.

    Args:
        elsewhere: the one that another server runs, if there is one.
    """

    def __init__(self, elsewhere: Elsewhere | None = None) -> None:
        self._elsewhere = elsewhere
        self._loaded: dict[str, Base] = {}
        self._turn = threading.Lock()

    def get(self, reference: str) -> Base:
        """A base, loaded if it is not yet.

        Raises:
            ModelError: it cannot be loaded, does not generate text, or its server cannot be
                reached.
        """
        if base := self._loaded.get(reference):
            return base
        with self._turn:
            if reference not in self._loaded:
                other = self._elsewhere
                driven = other is not None and other.reference == reference
                self._loaded[reference] = (
                    _drive(other) if other and driven else load_base(reference)
                )
            return self._loaded[reference]

    def waiting(self) -> int:
        """Requests that no base has begun yet."""
        return sum(base.backend.waiting for base in list(self._loaded.values()))

    def working(self) -> int:
        """Requests being read or answered."""
        return sum(base.backend.working for base in list(self._loaded.values()))

    def close(self) -> None:
        """Stop all; asking for one later loads it again."""
        with self._turn:
            while self._loaded:
                _, base = self._loaded.popitem()
                base.backend.close()
