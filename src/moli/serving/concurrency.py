"""Queues for slow work: a few calls run at once, and the others wait for their turn.

A request that waits holds no thread, and one whose client has left gets no further turn.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Generator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

from starlette.requests import ClientDisconnect, Request

from moli.records.errors import BusyError

T = TypeVar("T")
DISCONNECT_POLL = 0.25  # seconds between two checks whether the client is still connected
# Work that can be interrupted wherever it yields; what it returns is its result.
Steps = Generator[None, None, T]


class WorkQueue:
    """Runs slow work of requests in threads of its own, in the order in which they came.

    Args:
        threads: number of calls that run at once.
        max_waiting: number of requests that may wait for a thread; more are refused.
        retry_seconds: seconds after which a refused request is worth another try.

    Attributes:
        pending: number of requests that run or wait.
    """

    def __init__(self, threads: int, max_waiting: int, retry_seconds: int = 2) -> None:
        self._max_pending = threads + max_waiting
        self._retry_seconds = retry_seconds
        # Not those of other endpoints, so that quick requests always have a thread.
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix="work")
        self._thread_count = threads
        self.pending = 0

    @property
    def waiting(self) -> int:
        """Number of requests that wait for a thread."""
        return max(0, self.pending - self._thread_count)

    async def run(self, request: Request, work: Callable[[], T]) -> T:
        """Call a function for a request, when it is its turn.

        Raises:
            BusyError: too many requests wait.
            ClientDisconnect: the client left before the call began.
        """

        def one_step() -> Steps[T]:
            """The call as a single step."""
            return work()
            yield

        return await self.run_steps(request, one_step())

    async def run_steps(self, request: Request, steps: Steps[T]) -> T:
        """Take the steps of a request's work; other requests have their turns between them.

        Raises:
            BusyError: too many requests wait.
            ClientDisconnect: the client left before the last step.
        """
        if self.pending >= self._max_pending:
            raise BusyError(
                self._retry_seconds,
                f"{self.waiting} requests are already waiting for this",
                fix=f"Try again in {self._retry_seconds} s.",
            )
        self.pending += 1
        try:
            while (result := await self._take_turn(request, steps)) is None:
                pass
            return result.value
        finally:
            self.pending -= 1

    async def _take_turn(self, request: Request, steps: Steps[T]) -> _Result[T] | None:
        """Wait in line for a thread, and go on to the next step there; its result at the end."""
        if await request.is_disconnected():
            raise ClientDisconnect
        future = self._threads.submit(_take_step, steps)
        turn = asyncio.wrap_future(future)
        try:
            while not (await asyncio.wait({turn}, timeout=DISCONNECT_POLL))[0]:
                if await request.is_disconnected() and future.cancel():
                    raise ClientDisconnect
            return turn.result()
        finally:
            future.cancel()  # where the request itself was cancelled


@dataclass(frozen=True, slots=True)
class _Result(Generic[T]):
    """The value that finished work has returned."""

    value: T


def _take_step(steps: Steps[T]) -> _Result[T] | None:
    """Go on to the next step of some work; its result if there is none."""
    try:
        next(steps)
    except StopIteration as end:
        return _Result(end.value)
    return None
