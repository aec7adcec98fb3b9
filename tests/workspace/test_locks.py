"""Locks between processes: who holds one, and what ends it."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from samples import clean_environment

from moli.records.errors import WorkspaceError
from moli.workspace.locks import Holder, find_holder, hold_lock

HOLD = """
import sys
from pathlib import Path
from moli.workspace.locks import hold_lock
with hold_lock(Path(sys.argv[1]), "it", where="here"):
    print("held", flush=True)
    sys.stdin.read()
"""


def test_a_lock_says_who_holds_it_until_that_process_is_dead(tmp_path: Path) -> None:
    path = tmp_path / "资料 夹" / "run.lock"
    other = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)],
        env=clean_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        with (
            pytest.raises(WorkspaceError) as refused,
            hold_lock(path, "the run", where="20261130-1"),
        ):
            pass
        assert str(refused.value) == (
            f"20261130-1: the run is in use by process {other.pid} on this machine. "
            "Wait for it to end, or stop it."
        )
        assert find_holder(path) == Holder(other.pid, socket.gethostname())
    finally:
        other.kill()  # nothing is put in order
        other.communicate()
    assert path.with_suffix(".pid").read_text().split()[0] == str(other.pid)
    assert find_holder(path) is None
    with hold_lock(path, "the run", where=""):
        assert path.with_suffix(".pid").read_text().split()[0] == str(os.getpid())
        assert find_holder(path) == Holder(os.getpid(), socket.gethostname())
    assert find_holder(path) is None
    assert not path.with_suffix(".pid").exists()


@pytest.mark.parametrize(("timeout", "waited"), [(0.1, ""), (1.0, " for 1 s")])
def test_a_refusal_says_how_long_it_waited_if_that_is_seconds(
    tmp_path: Path, timeout: float, waited: str
) -> None:
    path = tmp_path / "it.lock"
    with (
        hold_lock(path, "it", where="here"),
        pytest.raises(WorkspaceError, match=f"process {os.getpid()} on this machine{waited}\\. "),
        hold_lock(path, "it", where="here", timeout=timeout),
    ):
        pass


def test_a_lock_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(WorkspaceError, match="it cannot be locked"),
        hold_lock(tmp_path / "file" / "run.lock", "it", where="here"),
    ):
        pass


@pytest.mark.parametrize(
    ("process", "machine", "is_held"),
    [("{parent}", "{here}", True), ("999999999", "{here}", False), ("7", "elsewhere", True)],
)
def test_a_lock_that_may_only_be_read_is_held_by_a_living_process(
    tmp_path: Path, process: str, machine: str, is_held: bool
) -> None:
    names = {"parent": os.getppid(), "here": socket.gethostname()}
    (tmp_path / "run.pid").write_text(f"{process} {machine}".format(**names))
    (tmp_path / "run.lock").mkdir()  # not to be opened for writing, even by root
    assert (find_holder(tmp_path / "run.lock") is not None) == is_held
