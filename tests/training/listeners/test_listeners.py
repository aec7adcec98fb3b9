"""Several listeners as one: each hears, and none can stop the run."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from training.listeners.runs import run

from moli.records.errors import InputError
from moli.records.training import Event, StepTaken
from moli.training.listeners import Listeners


class Failing:
    """Fails at the third step."""

    def __init__(self, error: Exception) -> None:
        self.error, self.received = error, 0

    def __call__(self, event: Event) -> None:
        self.received += 1
        if isinstance(event, StepTaken) and event.step == 3:
            raise self.error


@pytest.mark.parametrize(
    "error",
    [
        OSError(28, "No space left on device"),
        ConnectionError("server down\nwith a long story"),
        RuntimeError(""),
        UnicodeEncodeError("utf-8", "x", 0, 1, "surrogates"),
        InputError("damaged"),
    ],
)
def test_one_that_fails_is_dropped_with_one_warning(
    error: Exception, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    failing, received = Failing(error), list[Event]()
    listeners = Listeners([failing, received.append])
    events = list(run(tmp_path))
    with caplog.at_level(logging.WARNING):
        for event in events:
            listeners(event)
    assert failing.received == 4  # the start and three steps
    assert received == events
    (warning,) = caplog.messages
    assert warning.startswith("moli: Failing disabled after an error (")
    assert "\n" not in warning


@pytest.mark.parametrize("error", [KeyboardInterrupt, KeyError("a defect")])
def test_an_interruption_and_a_defect_are_let_through(error: BaseException, tmp_path: Path) -> None:
    def stop(event: Event) -> None:
        raise error

    with pytest.raises(type(error) if isinstance(error, Exception) else KeyboardInterrupt):
        Listeners([stop])(next(run(tmp_path)))
