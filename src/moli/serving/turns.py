"""Slow work that holds a thread: only a limited amount of it at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from moli.records.errors import BusyError

# Of the 40 threads that requests share, two kinds of slow work leave enough for what is quick.
_THREADS = 16
_RETRY = 2  # seconds


class Turns:
    """Lets a number of callers in at a time, and tells the others to come back.

    Args:
        most: how many at once; never more than there are threads to spare.
    """

    def __init__(self, most: int) -> None:
        self._left = threading.Semaphore(min(most, _THREADS))

    @contextmanager
    def one(self) -> Iterator[None]:
        """A turn.

        Raises:
            BusyError: there is none left.
        """
        if not self._left.acquire(blocking=False):
            raise BusyError(
                _RETRY,
                "too many requests are already waiting for an answer",
                fix=f"Try again in {_RETRY} s.",
            )
        try:
            yield
        finally:
            self._left.release()
