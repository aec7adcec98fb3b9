from __future__ import annotations

import json
import re
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from docs.pages import READMES, blocks, commands, name_of
from typer.testing import CliRunner

from moli.cli.main import app
from moli.translations.catalogue import use_language
from moli.workspace import Workspace

each_readme = pytest.mark.parametrize("readme", READMES, ids=name_of)


@pytest.fixture(autouse=True)
def language(request: pytest.FixtureRequest) -> Iterator[None]:
    """Commands answer in the language of the README."""
    readme = (
        request.node.callspec.params.get("readme") if hasattr(request.node, "callspec") else None
    )
    use_language("zh" if readme and readme.name == "README.zh.md" else "en")
    yield
    use_language("en")


def tour(readme: Path) -> str:
    """The second section."""
    return readme.read_text(encoding="utf-8").split("\n## ")[2]


def run(text: str) -> dict[str, str]:
    """Run the commands in this folder, in order; what each one printed."""
    printed: dict[str, str] = {}
    trace = ""
    for line in commands(text):
        name, *words = shlex.split(line)
        if name != "moli":
            subprocess.run(line, shell=True, check=True)
            continue
        if words[0] == "trace":
            words[1] = trace
        result = CliRunner().invoke(app, words, catch_exceptions=False)
        assert result.exit_code == 0, (line, result.output)
        printed[line] = result.output
        if not trace and (ids := re.findall(r"moli trace (\w+)", result.output)):
            trace = ids[0]
    return printed


@pytest.mark.slow
@each_readme
def test_the_tour_and_the_python_example_run(
    readme: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MOLI_ENCODER", "scripted:hash")
    text = tour(readme)
    before_removal, removal, after = text.partition("moli remove")
    run(before_removal + "```\n")
    [example] = [body for kind, body in blocks(readme.read_text("utf-8")) if kind == "python"]
    exec(compile(example, readme.name, "exec"), {})
    printed = run("```sh\n" + removal + after)
    removed = "已删除：文档 1 篇" if readme.name == "README.zh.md" else "Removed: documents 1, "
    assert removed in "".join(printed.values())


@pytest.mark.slow
@each_readme
def test_the_tour_prints_what_the_readme_shows(
    readme: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MOLI_ENCODER", raising=False)
    text = tour(readme)
    printed = run(text)
    shown = [body for kind, body in blocks(text) if kind == "text"]
    assert shown
    everything = steady("\n".join(printed.values()), tmp_path)
    assert [body for body in shown if steady(body, Path("/home/me")) not in everything] == []


def steady(text: str, folder: Path) -> str:
    """Without what differs from run to run: the folder, ids, dates, scores and times."""
    text = text.replace(str(folder), "HOME")
    for changing in (
        r"trace \w{8}",
        r"\d{4}-\d\d-\d\d [\d:]{8}",
        r"-?\d+\.\d+(?=[, )]|\n)",
        r"\d+ ms",
    ):
        text = re.sub(changing, "_", text)
    return "\n".join(line.strip() for line in text.splitlines()).strip()


@pytest.mark.slow
@each_readme
def test_the_commands_of_training_run(
    readme: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    rows = [
        {"text": f"{text} {number}", "label": label}
        for number in range(20)
        for text, label in (("Where is my parcel", "delivery"), ("I was charged twice", "payment"))
    ]
    for name in ("tickets.jsonl", "test.jsonl"):
        Path(name).write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    [section] = [
        each for each in readme.read_text("utf-8").split("\n## ")[1:] if "moli tune" in each
    ]
    Workspace.init(tmp_path).close()
    printed = run(section)
    assert any("tickets@" in each for each in printed.values())
    assert any(re.search("delivery|payment", each) for each in list(printed.values())[-1:])
