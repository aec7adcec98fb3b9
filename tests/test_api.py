from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import httpx
import pytest
from conftest import write_settings
from samples import run_python
from training import small_models

import moli
from moli.records.training import Evaluated, Event
from moli.workspace import Workspace

HEAVY = ("torch", "transformers", "openvino", "sqlalchemy", "numpy", "pydantic", "fastapi")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace that is the current folder, and a folder of notes to add."""
    write_settings(tmp_path, confidence=0.0)
    moli.init(tmp_path).close()
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "backup.txt").write_text("Backups are kept for 35 days.")
    (tmp_path / "notes" / "office.txt").write_text("The office opens at 8:30.")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_documents_are_added_searched_and_asked(home: Path) -> None:
    reports = moli.add("notes", home / "missing.txt")
    assert [report.outcome for report in reports] == ["failed", "added", "added"]
    assert [report.outcome for report in moli.add("notes")] == ["unchanged", "unchanged"]
    [hit] = moli.search("backups", limit=1)
    assert hit.text == "Backups are kept for 35 days."
    answer = moli.ask("How long are backups kept?")
    assert answer.text == "Backups are kept for 35 days." == answer.sentences[0].citations[0].quote
    scripted = moli.ask("How long are backups kept?", model="scripted:No idea")
    assert (scripted.model, scripted.answered) == ("scripted:No idea", False)


@pytest.mark.slow
def test_a_call_sees_what_its_groups_may_see(home: Path) -> None:
    moli.add("notes/backup.txt", groups="legal", labels={"year": "2026"})
    moli.add("notes/office.txt")
    assert [hit.title for hit in moli.search("the")] == ["office"]
    assert {hit.title for hit in moli.search("the", groups="legal")} == {"backup"}
    assert len(moli.search("the", groups=["legal", "everyone"])) == 2
    assert [hit.title for hit in moli.search("the", groups=["legal"], where={"year": "2026"})]
    assert not moli.search("the", groups=["legal"], where={"year": "2025"})
    assert not moli.search("the", groups=[])
    assert not moli.ask("How long are backups kept?", groups=[]).answered


def test_a_workspace_is_here_a_folder_or_already_open(home: Path, tmp_path: Path) -> None:
    moli.add("notes")
    os.chdir("notes")  # the workspace is in the folder above
    assert moli.search("backups")
    os.chdir("/")
    with pytest.raises(moli.MoliError, match="moli init"):
        moli.search("backups")
    assert moli.search("backups", workspace=home) == moli.search("backups", workspace=str(home))
    with moli.Workspace.open(home) as workspace:
        assert moli.search("backups", workspace=workspace)
        assert workspace.documents.list()  # the call has left it open
    assert moli.Workspace is Workspace


@pytest.mark.slow
def test_a_model_is_checked_trained_evaluated_and_asked(home: Path) -> None:
    values = {
        "task": "classification",
        "base": small_models.write_model(home / "bert", "bert"),
        "data": small_models.write_labelled(home / "data.jsonl", 60),
        "epochs": 2,
    }
    assert moli.check(**values).ok
    assert not moli.check(**values | {"data": home / "missing.jsonl"}).ok
    events: list[Event] = []
    result = moli.tune(**values, name="sorter", on_event=events.append)
    assert result.model.startswith("sorter@")
    further = values | {"base": "sorter", "data": home / "data.jsonl"}
    assert moli.check(**further).ok
    os.chdir("/")
    assert moli.check(**further, workspace=home).ok
    assert "no such folder" in moli.check(**further).findings[0].what
    with pytest.raises(moli.MoliError, match="no such folder"):
        moli.check(**further, workspace=home / "missing")
    os.chdir(home)
    assert any(isinstance(event, Evaluated) for event in events)
    evaluation = moli.evaluate("sorter", "data.jsonl")
    rows = [json.loads(line) for line in Path("data.jsonl").read_text().splitlines()]
    answers = moli.predict("sorter", *rows)
    right = sum(each["label"] == row["label"] for each, row in zip(answers, rows, strict=True))
    assert right / 60 == evaluation.metrics["accuracy"]
    assert moli.predict("sorter", rows[0]["text"], rows[1]["text"]) == answers[:2]


def test_a_recipe_is_a_file_or_values_or_both(home: Path) -> None:
    from moli.api import _read_recipe

    (home / "recipes").mkdir()
    file = home / "recipes" / "sorter.yaml"
    file.write_text("task: classification\ndata: rows.jsonl\nepochs: 3\n")
    assert _read_recipe(str(file), {}).data == home / "recipes" / "rows.jsonl"
    changed = _read_recipe(file, {"data": Path("rows.jsonl"), "epochs": 2})
    assert (changed.data, changed.epochs) == (home / "rows.jsonl", 2)
    with pytest.raises(moli.MoliError, match="'task' is missing"):
        moli.check()
    with pytest.raises(moli.MoliError, match="Did you mean 'epochs'"):
        moli.check(task="classification", data="rows.jsonl", epoch=1)


@pytest.mark.slow
def test_a_server_answers_at_the_address_that_is_reported(home: Path) -> None:
    code = (
        "import os, signal, moli\n"
        "def on_ready(address):\n"
        "    print(address)\n"
        "    os.kill(os.getpid(), signal.SIGINT)\n"
        "moli.serve(port=0, on_ready=on_ready)\n"
        "print('ended')\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=home, capture_output=True, text=True, check=True
    )
    address, ended = done.stdout.split()
    assert address.startswith("http://127.0.0.1:") and ended == "ended"
    with pytest.raises(httpx.ConnectError):
        httpx.get(address)


@pytest.mark.slow
def test_names_are_loaded_when_they_are_used() -> None:
    code = (
        "import sys, moli\n"
        f"heavy = lambda: [name for name in {HEAVY!r} if name in sys.modules]\n"
        "seen = [heavy(), 'ask' in dir(moli), [callable(getattr(moli, name)) for name in\n"
        "    moli.__all__ if name != 'Workspace'], heavy()]\n"
        "moli.Workspace\n"
        "print(*seen, 'torch' in sys.modules, sep='; ')"
    )
    count = len(moli.__all__) - 1
    assert run_python(code) == f"[]; True; {[True] * count}; []; False\n"


def test_an_unknown_name_is_an_attribute_error() -> None:
    assert not hasattr(moli, "astrologer")


def test_programs_that_use_the_package_are_checked_against_its_types() -> None:
    assert (Path(moli.__file__).parent / "py.typed").is_file()
