"""The listeners that every run has, and what they are told when it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from moli.records.training import Event, RunEnded
from moli.training.listeners import Listener, Listeners
from moli.training.listeners.event_log import EventLog
from moli.training.listeners.report import Report
from moli.training.listeners.trackers import make_trackers


def run_listeners(trackers: Sequence[str], listeners: Sequence[Listener]) -> Listeners:
    """A run's event log, report and trackers, then the given listeners, as one."""
    return Listeners([EventLog(), Report(), *make_trackers(trackers), *listeners])


@contextmanager
def failure_reported(on_event: Callable[[Event], None], step: Callable[[], int]) -> Iterator[None]:
    """Report the end of a run in which an error is raised, and raise the error again.

    Args:
        step: the number of the run's last step.
    """
    try:
        yield
    except BaseException as error:
        reason = {"error": str(error).strip() or type(error).__name__}
        interrupted = isinstance(error, KeyboardInterrupt)
        on_event(RunEnded("interrupted" if interrupted else "failed", step(), reason))
        raise
