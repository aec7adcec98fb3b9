"""The status of a run, from its events and from the process that works on it."""

from __future__ import annotations

import json
import os
from contextlib import nullcontext
from pathlib import Path

import pytest

from moli.training.recipes.run_folder import LOCK, REQUESTED
from moli.training.runs import read_run
from moli.workspace.locks import hold_lock

STARTED = {"event": "started", "steps": 8}
INTERRUPTED = {"event": "ended", "status": "interrupted"}
FINISHED = {"event": "ended", "status": "finished"}


@pytest.mark.parametrize(
    ("events", "is_locked", "status"),
    [
        ([], True, "running"),
        ([STARTED], True, "running"),
        ([STARTED], False, "killed"),
        ([], False, "killed"),
        ([STARTED, INTERRUPTED], False, "interrupted"),
        ([STARTED, INTERRUPTED], True, "running"),  # it is being resumed
        ([STARTED, INTERRUPTED, STARTED], False, "killed"),
        ([STARTED, FINISHED], True, "finished"),  # it puts its files in order
        ([STARTED, FINISHED], False, "finished"),
    ],
)
def test_a_run_is_running_while_a_process_holds_its_lock(
    tmp_path: Path, events: list[dict[str, object]], is_locked: bool, status: str
) -> None:
    (tmp_path / REQUESTED).write_text('{"task": "classification"}')
    (tmp_path / "events.jsonl").write_text("".join(json.dumps(each) + "\n" for each in events))
    lock = hold_lock(tmp_path / LOCK, "the run", where="") if is_locked else nullcontext()
    with lock:
        run = read_run(tmp_path)
    assert (run.status, run.process) == (status, os.getpid() if status == "running" else 0)


def test_a_run_whose_process_is_dead_was_killed(tmp_path: Path) -> None:
    (tmp_path / REQUESTED).write_text("{}")
    (tmp_path / "events.jsonl").write_text(json.dumps(STARTED) + "\n")
    (tmp_path / LOCK).write_text("")
    (tmp_path / LOCK).with_suffix(".pid").write_text("1 anywhere")  # which it could not remove
    assert (read_run(tmp_path).status, read_run(tmp_path).process) == ("killed", 0)
