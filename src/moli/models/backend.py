"""What a server needs of whatever writes its answers: the engine of this process, or a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from moli.records.generation import Hear, Reason, Request

if TYPE_CHECKING:
    from moli.models.engine.worker import Worker
    from moli.models.vllm import RemoteBackend


class Running(Protocol):
    """A request under way."""

    @property
    def prompt(self) -> int:
        """Tokens of the prompt."""

    @property
    def cached(self) -> int:
        """How many of them had been read before, for another answer."""

    @property
    def reason(self) -> Reason | None:
        """Why the answer ended; None while it is under way."""

    def cancel(self) -> None:
        """Stop soon. May be called from any thread, and more than once."""


class Backend(Protocol):
    """Writes answers to any number of requests at once."""

    @property
    def waiting(self) -> int:
        """Requests that are not begun yet."""

    @property
    def working(self) -> int:
        """Requests that are answered."""

    def submit(self, request: Request, hear: Hear) -> Running:
        """Have a request answered, without waiting for it.

        `hear` is told from a thread of the backend and should be quick. The last delta, and no
        other, has a reason; a request that is cancelled or fails ends with such a delta as well.

        Raises:
            InputError: the request cannot be answered.
        """

    def close(self) -> None:
        """Stop; what is under way ends as cancelled."""


if TYPE_CHECKING:
    BACKENDS: tuple[type[Backend], ...] = (Worker, RemoteBackend)
