"""Every listener keeps the same promises: it bears each run as it comes, and one after another."""

from __future__ import annotations

import importlib.util
import io
import math
import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from rich.console import Console
from training.listeners.runs import evaluated, run, started, taken

from moli.records.training import Event, RunEnded
from moli.training.listeners import Listener, Listeners
from moli.training.listeners.event_log import EventLog
from moli.training.listeners.progress import ProgressLine
from moli.training.listeners.report import Report
from moli.training.listeners.trackers import make_trackers


class Recording:
    """A listener that records all events."""

    def __init__(self) -> None:
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)


def _terminal(width: int | None) -> ProgressLine:
    environment = {"TERM": "xterm"}
    return ProgressLine(
        Console(file=io.StringIO(), width=width, force_terminal=bool(width), _environ=environment)
    )


def _tracker(name: str) -> Listener:
    if importlib.util.find_spec(name) is None:
        pytest.skip(f"{name} is not installed: pip install 'moli[trackers]'")
    (tracker,) = make_trackers([name])
    return tracker


LISTENERS: dict[str, Callable[[], Listener]] = {
    "recording": Recording,
    "curves": EventLog,
    "report": Report,
    "progress on a terminal": lambda: _terminal(80),
    "progress in a file": lambda: _terminal(None),
    "several": lambda: Listeners([Recording(), EventLog(), Report(), _terminal(80)]),
    "tensorboard": lambda: _tracker("tensorboard"),
    "mlflow": lambda: _tracker("mlflow"),
    "wandb": lambda: _tracker("wandb"),
}
SLOW = ("mlflow", "wandb")


@pytest.fixture(
    params=[pytest.param(n, marks=[pytest.mark.slow] if n in SLOW else []) for n in LISTENERS]
)
def listener(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Listener:
    for name in ("MLFLOW_TRACKING_URI", "WANDB_MODE"):
        monkeypatch.delenv(name, raising=False)
    return LISTENERS[request.param]()


@pytest.mark.slow
def test_a_whole_run_is_borne(listener: Listener, tmp_path: Path) -> None:
    for event in run(tmp_path):
        assert listener(event) is None  # type: ignore[func-returns-value]


@pytest.mark.slow
def test_a_run_that_was_cut_off_is_resumed_from_an_earlier_step(
    listener: Listener, tmp_path: Path
) -> None:
    for event in [*list(run(tmp_path))[:30], *run(tmp_path, step=20)]:
        listener(event)


@pytest.mark.slow
def test_one_run_follows_another(listener: Listener, tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        for event in run(tmp_path / name):
            listener(event)


@pytest.mark.slow
@pytest.mark.parametrize("status", ["finished", "stopped_early", "interrupted", "failed"])
def test_a_run_that_ends_at_once_is_borne(listener: Listener, tmp_path: Path, status: str) -> None:
    listener(started(tmp_path))
    listener(RunEnded(status, 0, {}))  # type: ignore[arg-type]


@pytest.mark.slow
def test_odd_figures_names_and_counts_are_borne(listener: Listener, tmp_path: Path) -> None:
    odd = {"": "", "深": [1, None, {"a": math.nan}], "path": tmp_path, "\udc80": "\x1b[2J"}
    for event in (
        started(tmp_path, run="名 $x$ <b>\x00", recipe=odd, facts=odd, steps=1),
        evaluated(0, best=False, loss=math.nan),
        taken(1, loss=math.nan, gradient_norm=math.inf, tokens=0, seconds=0.0, learning_rate=0.0),
        taken(1),
        evaluated(1, **{"f1 (退款) $a_": 0.5, "perplexity": math.inf}),
        evaluated(1, accuracy=1),
        RunEnded("finished", 1, odd),
        RunEnded("finished", 1, odd),
    ):
        listener(event)


@pytest.mark.slow
def test_nothing_runs_on_after_the_end(listener: Listener, tmp_path: Path) -> None:
    before = set(threading.enumerate())  # other tests' libraries may keep some
    for event in run(tmp_path):
        listener(event)
    assert [each for each in threading.enumerate() if not each.daemon and each not in before] == []
