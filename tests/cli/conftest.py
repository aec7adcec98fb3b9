from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from conftest import write_settings
from samples import clean_environment
from typer.testing import CliRunner

from moli.cli.main import app, main
from moli.translations.catalogue import use_language
from moli.workspace import Workspace

Moli = Callable[..., "Ran"]


class Ran:
    """The output and exit code of a command."""

    def __init__(self, code: int, out: str, err: str) -> None:
        self.code, self.out, self.err = code, out, err

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A workspace that is the current folder, with two documents to add."""
    home = tmp_path / "home"
    write_settings(home, confidence=0.0)
    Workspace.init(home).close()
    docs = home / "docs"
    docs.mkdir()
    (docs / "guide.md").write_text("# Guide\n\nThe server listens on port 7860.\n")
    (docs / "手册.txt").write_text("充满电需要两小时。", encoding="utf-8")
    monkeypatch.chdir(home)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")  # so that commands speak English wherever tests run
    return home


@pytest.fixture
def moli(
    home: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[Moli]:
    """Runs `moli` in this process, as its script would, in the folder `home`."""

    def run(*arguments: object) -> Ran:
        capsys.readouterr()  # what the test's preparations have printed is not the command's
        monkeypatch.setattr(sys, "argv", ["moli", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        out, err = capsys.readouterr()
        code = ended.value.code
        return Ran(code if isinstance(code, int) else int(code is not None), out, err)

    yield run
    use_language("en")


@pytest.fixture
def runner() -> Callable[..., Any]:
    """Runs a command through typer's own runner."""
    return lambda *arguments: CliRunner().invoke(app, list(map(str, arguments)))


@pytest.fixture
def process(home: Path) -> Moli:
    """Runs `moli` in a process of its own, in the folder `home`."""

    def run(*arguments: object) -> Ran:
        code = "from moli.cli import main; main()"
        done = subprocess.run(
            [sys.executable, "-c", code, *map(str, arguments)],
            cwd=home,
            env=clean_environment(),
            capture_output=True,
            text=True,
            timeout=120,
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run
