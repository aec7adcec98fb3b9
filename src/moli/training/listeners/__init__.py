"""Listeners of a training run: its event log, its report, its progress line, its trackers.

Each receives every event and decides for itself what to do with it. None can stop the run.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import Protocol

from moli.records.errors import MoliError
from moli.records.training import Event

# Errors that a disk, a server or a curve that cannot be drawn may raise. Anything else is a defect
# of the listener and is let through, so that it gets mended.
_FAILURES = (OSError, RuntimeError, ValueError, ArithmeticError, MoliError)


class Listener(Protocol):
    """Follows one run at a time.

    It receives `RunStarted`, then steps and evaluations in their order, then `RunEnded`. Another
    `RunStarted` starts a new run, or resumes the same one from an earlier step, even if the run
    before it was cut off without an end.
    """

    def __call__(self, event: Event, /) -> None: ...


class Listeners:
    """Several listeners as one. A listener that fails is dropped, with one warning.

    They are called in their order: `EventLog` comes before `Report`, which reads what it wrote.
    """

    def __init__(self, listeners: Iterable[Listener]) -> None:
        self._listeners = list(listeners)

    def __call__(self, event: Event) -> None:
        for listener in tuple(self._listeners):
            try:
                listener(event)
            except _FAILURES as error:
                self._listeners.remove(listener)
                # A tracker's errors may have many lines; the first says what is wrong.
                reason = (str(error).strip() or type(error).__name__).splitlines()[0]
                logging.getLogger(__name__).warning(
                    "moli: %s disabled after an error (%s); training continues.",
                    getattr(listener, "name", type(listener).__name__),
                    reason,
                )
