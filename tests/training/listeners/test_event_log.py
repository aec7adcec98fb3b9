"""Events on disk: whole after a kill, without doubles after a resumption, equal when read back."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from samples import ROOT
from training.listeners.runs import evaluated, run, started, taken

from moli.records.errors import InputError
from moli.records.training import Event, RunEnded, RunStarted, StepTaken
from moli.training.listeners.event_log import EventLog, read_events


def heard(*events: Event) -> None:
    log = EventLog()
    for event in events:
        log(event)


def steps(folder: Path) -> list[int]:
    return [each.step for each in read_events(folder) if isinstance(each, StepTaken)]


def test_events_come_back_equal(tmp_path: Path) -> None:
    events = [
        started(tmp_path, facts={"标签": ["好", "a b"], "n": None, "yes": True}),
        taken(1),
        taken(2, loss=math.inf, gradient_norm=-math.inf, metrics={"kl": 0.5}),
        evaluated(2, f1=0.25, loss=1e-9),
        RunEnded("stopped_early", 2, {"model": "m@1", "rates": {"tokens": 1.5}}),
    ]
    heard(*events)
    assert read_events(tmp_path) == events


def test_steps_of_an_older_log_have_no_metrics(tmp_path: Path) -> None:
    heard(started(tmp_path), taken(1))
    path = tmp_path / "events.jsonl"
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    assert lines[1].pop("metrics") == {}
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert read_events(tmp_path) == [started(tmp_path), taken(1)]


def test_a_loss_that_is_no_number_is_valid_json_and_comes_back(tmp_path: Path) -> None:
    heard(started(tmp_path), taken(1, loss=math.nan))
    for line in (tmp_path / "events.jsonl").read_text().splitlines():
        json.loads(line, parse_constant=pytest.fail)
    (_, step) = read_events(tmp_path)
    assert isinstance(step, StepTaken)
    assert math.isnan(step.loss)


def test_what_json_does_not_know_is_written_as_what_it_is(tmp_path: Path) -> None:
    facts = {"path": Path("a"), "n": np.int64(3), "x": np.float32(0.5), "lone": "\udc80"}
    heard(started(tmp_path, facts=facts))
    (event,) = read_events(tmp_path)
    assert isinstance(event, RunStarted)
    assert event.facts == {"path": "a", "n": 3, "x": 0.5, "lone": "\udc80"}


def test_a_resumed_run_has_each_step_once(tmp_path: Path) -> None:
    log = EventLog()
    for event in list(run(tmp_path))[:31]:  # cut off after step 28, without an end
        log(event)
    assert steps(tmp_path)[-1] == 28
    heard(*run(tmp_path, step=20))
    heard(*run(tmp_path, step=20))
    events = read_events(tmp_path)
    assert steps(tmp_path) == list(range(1, 41))
    kinds = [(type(e).__name__, e.step) for e in events if not isinstance(e, StepTaken)]
    assert kinds == [
        ("RunStarted", 0),
        ("Evaluated", 10),
        ("Evaluated", 20),
        ("RunStarted", 20),
        ("Evaluated", 30),
        ("Evaluated", 40),
        ("RunEnded", 40),
    ]


def test_a_run_that_begins_anew_forgets_the_one_before(tmp_path: Path) -> None:
    heard(started(tmp_path), evaluated(0), taken(1), taken(2))
    heard(started(tmp_path), evaluated(0), taken(1))
    assert len(read_events(tmp_path)) == 3


def test_a_line_cut_off_is_left_out_and_then_taken_out(tmp_path: Path) -> None:
    heard(started(tmp_path), taken(1), taken(2))
    path = tmp_path / "events.jsonl"
    with path.open("ab") as file:
        file.write(b'{"event": "step", "step": 3, "lo')
    assert steps(tmp_path) == [1, 2]
    heard(started(tmp_path, step=2), taken(3))
    assert steps(tmp_path) == [1, 2, 3]


def test_a_damaged_line_is_told_by_its_number(tmp_path: Path) -> None:
    heard(started(tmp_path), taken(1), taken(2))
    path = tmp_path / "events.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    path.write_bytes(lines[0] + b"\0\0\0\n" + lines[2])
    with pytest.raises(InputError, match=r"events\.jsonl:2: not an event"):
        read_events(tmp_path)
    heard(started(tmp_path, step=2), taken(3))
    assert steps(tmp_path) == [2, 3]


def test_a_folder_without_events_has_none(tmp_path: Path) -> None:
    assert read_events(tmp_path) == []


def test_a_killed_process_has_written_all_that_it_told(tmp_path: Path) -> None:
    code = """
        import sys, time
        from pathlib import Path
        from training.listeners.runs import run
        from moli.training.listeners.event_log import EventLog
        log = EventLog()
        for event in run(Path(sys.argv[1]), steps=10**6):
            log(event)
            print(event.step, flush=True)
    """
    code = "\n".join(line[8:] for line in code.splitlines())
    environment = os.environ | {"PYTHONPATH": str(ROOT / "tests")}
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, env=environment
    ) as process:
        assert process.stdout is not None
        printed = 0
        while printed < 200:
            printed = int(process.stdout.readline())
        process.send_signal(signal.SIGKILL)
        printed = max([printed, *map(int, process.stdout.read().split())])
    assert steps(tmp_path)[:printed] == list(range(1, printed + 1))


def test_one_curves_serves_one_run_after_another(tmp_path: Path) -> None:
    log = EventLog()
    for name in ("a", "b"):
        for event in run(tmp_path / name):
            log(event)
    first, second = (read_events(tmp_path / name) for name in "ab")
    assert isinstance(first[0], RunStarted)
    assert [replace(first[0], folder=str(tmp_path / "b")), *first[1:]] == second
