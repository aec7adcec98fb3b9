"""The listeners that every run has."""

from __future__ import annotations

from collections.abc import Sequence

from moli.training.listeners import Listener, Listeners
from moli.training.listeners.event_log import EventLog
from moli.training.listeners.report import Report
from moli.training.listeners.trackers import make_trackers


def run_listeners(trackers: Sequence[str], listeners: Sequence[Listener]) -> Listeners:
    """A run's event log, report and trackers, then the given listeners, as one."""
    return Listeners([EventLog(), Report(), *make_trackers(trackers), *listeners])
