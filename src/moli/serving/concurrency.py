"""Limit on slow work that holds a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from moli.records.errors import BusyError

# Requests share 40 threads. Two kinds of slow work with 16 each leave enough for quick requests.
_MAX_THREADS = 16
_RETRY_SECONDS = 2


class ConcurrencyLimit:
    """Runs a limited number of slow calls at once, and refuses the others.

    Args:
        limit: maximum calls at once; more than `_MAX_THREADS` counts as that many.
    """

    def __init__(self, limit: int) -> None:
        self._free = threading.Semaphore(min(limit, _MAX_THREADS))

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Hold a slot while the block runs.

        Raises:
            BusyError: none is free.
        """
        if not self._free.acquire(blocking=False):
            raise BusyError(
                _RETRY_SECONDS,
                "too many requests are already waiting for an answer",
                fix=f"Try again in {_RETRY_SECONDS} s.",
            )
        try:
            yield
        finally:
            self._free.release()
