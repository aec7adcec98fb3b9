"""A workspace that cannot be written to is read, and left as it is."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from conftest import write_settings
from samples import ENCODER

import moli
from moli.records.errors import WorkspaceError
from moli.retrieval.indexes import Indexes
from moli.workspace import Workspace, read_only
from moli.workspace.database import Database

CRASH = """
import os, sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("PRAGMA journal_mode=WAL")
connection.execute("PRAGMA wal_autocheckpoint=0")
connection.execute("CREATE TABLE rows (value)")
connection.execute("INSERT INTO rows VALUES ('退款')")
connection.commit()
os._exit(0)  # what is committed is in the write-ahead log alone
"""


def state_of(folder: Path) -> dict[Path, bytes]:
    """Content of all files but those that SQLite's readers share where they can make them."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    return {path: path.read_bytes() for path in files if not path.name.endswith(("-shm", "-wal"))}


def test_a_read_only_workspace_answers_and_is_left_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "资料 库"
    write_settings(home, confidence=0.0)
    (home / "guide.md").write_text("# Guide\n\nThe server listens on port 7860.\n")
    with moli.init(home) as workspace:
        moli.add(home / "guide.md", workspace=workspace)
    before = state_of(home)
    monkeypatch.setattr("moli.workspace.may_write", lambda *_: False)
    with Workspace.open(home) as workspace:
        assert moli.search("port", workspace=workspace)[0].source.endswith("guide.md")
        answer = moli.ask("Which port?", workspace=workspace)
        assert (answer.sentences[0].text, answer.trace_id) == (
            "The server listens on port 7860.", ""
        )  # fmt: skip
        assert workspace.models.list() == []
        refused = [
            lambda: moli.add(home / "guide.md", workspace=workspace, force=True),
            lambda: Indexes(workspace, ENCODER).rebuild(),
            lambda: moli.tune(task="classification", data="x.jsonl", workspace=workspace),
            lambda: moli.serve(workspace=workspace, port=0),
            lambda: moli.init(home),
            lambda: workspace.keys.add("phone"),
        ]
        for write in refused:
            with pytest.raises(WorkspaceError, match="the workspace is read-only"):
                write()
    assert state_of(home) == before


def test_without_a_database_there_is_nothing_to_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_settings(tmp_path)
    monkeypatch.setattr("moli.workspace.may_write", lambda *_: False)
    with (
        pytest.raises(WorkspaceError, match="read-only and has no database yet"),
        Workspace.open(tmp_path) as workspace,
    ):
        workspace.models.list()


@pytest.mark.parametrize("shares", [True, False], ids=["with its shared memory", "without"])
def test_what_a_crash_left_in_the_log_is_read(
    shares: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, scratch = tmp_path / "数 据?.db", tmp_path / "scratch"
    scratch.mkdir()
    subprocess.run([sys.executable, "-c", CRASH, str(path)], check=True)
    if not shares:  # as on a read-only disk, where it cannot be made
        path.with_name(f"{path.name}-shm").unlink()
        monkeypatch.setattr(read_only, "_can_be_read", lambda _: False)
    assert rows_of(read_only.read_only_url(path, lambda: scratch)) == ["退款"]
    assert bool(list(scratch.iterdir())) is not shares


def test_a_database_that_nobody_writes_to_is_read_where_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "moli.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript("CREATE TABLE rows (value); INSERT INTO rows VALUES ('a')")
    monkeypatch.setattr(read_only, "_can_be_read", lambda _: False)
    url = read_only.read_only_url(path, lambda: tmp_path / "none")
    assert rows_of(url) == ["a"]
    assert [each.name for each in tmp_path.iterdir()] == ["moli.db"]


def rows_of(url: sa.URL) -> list[Any]:
    database = Database(url, read_only=Path())
    with database.read() as connection:
        rows = connection.exec_driver_sql("SELECT value FROM rows").scalars().all()
    database.close()
    return list(rows)
