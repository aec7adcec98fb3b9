from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from docs.pages import ROOT, blocks

import moli
from moli.workspace import Workspace

ROWS = [
    {"text": f"{text} {number}", "label": label}
    for number in range(20)
    for text, label in (("Where is my parcel", "delivery"), ("I was charged twice", "payment"))
]

each_language = pytest.mark.parametrize("language", ["en", "zh"])


def python_of(language: str, name: str) -> str:
    page = (ROOT / "docs" / language / f"{name}.md").read_text(encoding="utf-8")
    return "\n".join(body for kind, body in blocks(page) if kind == "python")


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The current folder, with the files that the pages speak of."""
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "backup.txt").write_text("Backups are kept for 35 days.\n")
    (tmp_path / "notes" / "office.txt").write_text("The office opens at 8:30.\n")
    for name in ("tickets.jsonl", "test.jsonl"):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
@each_language
def test_the_page_of_python_runs(
    language: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    exec(compile(python_of(language, "python"), f"{language}/python.md", "exec"), {})
    printed = capsys.readouterr().out
    assert printed.startswith("Backups are kept for 35 days. 0.")
    assert "The office opens at 8:30. " in printed
    assert "tickets@" in printed
    assert "\ndelivery\n1.0\n" in printed
    assert "no such folder /nowhere Run 'moli init' there" in printed


@pytest.mark.slow
@each_language
def test_the_example_of_training_runs(
    language: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Workspace.init(here).close()
    exec(compile(python_of(language, "training"), f"{language}/training.md", "exec"), {})
    assert re.search(r"^\S*@?[0-9a-f]{8}", capsys.readouterr().out)


@each_language
def test_the_table_of_functions_is_what_there_is(language: str) -> None:
    page = (ROOT / "docs" / language / "python.md").read_text(encoding="utf-8")
    named = re.findall(r"^\| `moli\.(\w+)` \|", page, re.MULTILINE)
    assert sorted(named) == sorted(set(moli.__all__) - {"MoliError", "Workspace"})
