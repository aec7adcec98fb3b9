from __future__ import annotations

import os
import shutil
import threading
from pathlib import Path

import pytest
from conftest import Make
from samples import ingest, run_together

from moli.records.errors import WorkspaceError
from moli.workspace import Workspace
from moli.workspace.settings import Settings, find_root


def test_the_root_is_the_nearest_folder_above_with_settings(tmp_path: Path) -> None:
    inner = tmp_path / "outer" / "inner" / "deep"
    inner.mkdir(parents=True)
    for folder in (tmp_path / "outer", tmp_path / "outer" / "inner"):
        (folder / "moli.toml").touch()
    assert find_root(inner) == (tmp_path / "outer" / "inner").resolve()
    assert find_root(tmp_path / "outer") == (tmp_path / "outer").resolve()


def test_a_folder_named_like_the_settings_is_no_workspace(tmp_path: Path) -> None:
    (tmp_path / "moli.toml").mkdir()
    with pytest.raises(WorkspaceError, match="moli init") as caught:
        find_root(tmp_path)
    assert caught.value.where == str(tmp_path.resolve())


def test_a_workspace_named_outright_has_to_be_there(workspace: Workspace) -> None:
    with pytest.raises(WorkspaceError):
        Workspace.open(workspace.root / "misspelt")


def test_a_new_workspace_has_settings_a_database_and_keeps_out_of_git(tmp_path: Path) -> None:
    with Workspace.init(tmp_path / "new" / "place") as workspace:
        assert (workspace.root / "moli.toml").read_text("utf-8") == Settings.template()
        assert (workspace.folder / ".gitignore").read_text() == "*\n"
        assert workspace.documents.counts()["documents"] == 0


def test_making_a_workspace_again_changes_nothing_in_it(workspace: Workspace) -> None:
    ingest(workspace, {"a.txt": "Words."})
    toml = (workspace.root / "moli.toml").read_bytes()
    with Workspace.init(workspace.root) as again:
        assert [each.source for each in again.documents.list()] == ["a.txt"]
    assert (workspace.root / "moli.toml").read_bytes() == toml


def test_a_workspace_cannot_be_made_where_a_file_is(tmp_path: Path) -> None:
    (tmp_path / "taken").touch()
    with pytest.raises(WorkspaceError):
        Workspace.init(tmp_path / "taken")


ODD_NAMES = ["two words", "手册", "100%", "a#b", "it's", "semi;colon", "plus+and&", "what?now"]


@pytest.mark.parametrize("name", ODD_NAMES)
def test_a_workspace_keeps_its_database_inside_whatever_its_folder_is_called(
    make_workspace: Make, tmp_path: Path, name: str
) -> None:
    ingest(make_workspace(name), {"a.txt": "Words."})
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert (tmp_path / name / ".moli" / "moli.db").is_file()


def test_a_lock_keeps_others_out_until_it_is_left(workspace: Workspace) -> None:
    entered = []
    with workspace.lock("lexical"):

        def enter() -> None:
            with Workspace.open(workspace.root).lock("lexical"):
                entered.append(True)

        other = threading.Thread(target=enter)
        other.start()
        other.join(0.3)
        assert not entered
    other.join(10)
    assert entered


def test_whoever_waits_too_long_for_a_lock_is_told_who_holds_it(workspace: Workspace) -> None:
    with (
        workspace.lock("lexical"),
        pytest.raises(WorkspaceError, match=f"in use by process {os.getpid()} "),
        Workspace.open(workspace.root).lock("lexical", timeout=0.05),
    ):
        pass


def test_locks_of_different_names_do_not_meet(workspace: Workspace) -> None:
    with workspace.lock("lexical"), Workspace.open(workspace.root).lock("dense", timeout=0.05):
        pass


def test_a_cache_that_is_cleared_is_there_again_when_asked_for(workspace: Workspace) -> None:
    (workspace.cache / "index").mkdir()
    shutil.rmtree(workspace.cache)
    assert list(workspace.cache.iterdir()) == []


@pytest.mark.slow
def test_processes_that_make_one_workspace_at_once_all_find_it_ready(tmp_path: Path) -> None:
    code = """
        import sys
        from pathlib import Path
        from moli.workspace import Workspace
        with Workspace.init(Path(sys.argv[1])) as workspace:
            print(workspace.documents.counts()["documents"])
    """
    assert run_together(code, [[tmp_path / "shared"]] * 4) == ["0\n"] * 4
