"""What people see: in their language, in any encoding, in pipes, and when they interrupt."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from samples import clean_environment

from moli.cli.output import on_interrupt, print_table
from moli.cli.wrapping import cell_len, wrap

NAMES = ["手册.txt", "café “quoted”.md", "a-name-that-is-long-" + "x" * 70 + ".txt"]


def run(home: Path, *arguments: str, **variables: str) -> subprocess.CompletedProcess[bytes]:
    """`moli` in a process of its own, with these variables and no other locale."""
    plain = {name: value for name, value in clean_environment().items() if name[:3] != "LC_"}
    plain.pop("LANG", None)
    plain.pop("PYTHONIOENCODING", None)
    return subprocess.run(
        [sys.executable, "-m", "moli", *arguments],
        cwd=home,
        env=plain | variables,
        capture_output=True,
        timeout=120,
    )


@pytest.fixture
def library(home: Path, moli: Any) -> Path:
    """A workspace with documents whose names are long, quoted and Chinese."""
    for name in NAMES:
        (home / "docs" / name).write_text(f"The text of {name}.", encoding="utf-8")
    assert moli("add", "docs").code == 0
    return home


@pytest.mark.slow
@pytest.mark.parametrize(
    "variables",
    [
        {"PYTHONIOENCODING": "ascii"},
        {"PYTHONIOENCODING": "cp936"},
        {"PYTHONIOENCODING": "latin-1"},
        {"LANG": "C"},
        {"LC_ALL": "POSIX"},
        {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"},
        {"LANG": "zh_CN.UTF-8"},
        {"LANG": "zh_CN.UTF-8", "PYTHONIOENCODING": "ascii"},
    ],
    ids=str,
)
def test_no_character_ends_a_command(library: Path, variables: dict[str, str]) -> None:
    encoding = variables.get("PYTHONIOENCODING", "utf-8")
    for arguments in (("list",), ("ask", "手册?"), ("search", "quoted"), ("--help",)):
        ran = run(library, *arguments, **variables)
        assert (ran.returncode, ran.stderr) == (0, b""), arguments
        ran.stdout.decode(encoding)
    listed = json.loads(run(library, "list", "--json", **variables).stdout.decode(encoding))
    sources = {Path(document["source"]).name for document in listed["documents"]}
    assert sources == {*NAMES, "guide.md"}


@pytest.mark.slow
def test_names_are_utf_8_in_a_locale_without_it(home: Path) -> None:
    plain = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0"}
    library = home.rename(home.with_name("资料 库"))
    (library / "手册" / "表").mkdir(parents=True)
    (library / "手册" / "退款.txt").write_text("三十天内可以退款。", encoding="utf-8")
    (library / "手册" / "表" / "保修.csv").write_text("名称,年\n泵,2\n", encoding="utf-8")
    (library / "手册" / "坏.pdf").write_text("no PDF")
    Path(os.fsdecode(b"%s/caf\xe9.txt" % os.fsencode(library / "手册"))).write_text("x")
    added = json.loads(run(library, "add", "手册", "--json", **plain).stdout)
    assert added["counts"] == {"added": 2, "failed": 2}
    messages = [each["message"].partition(". ")[0] for each in added["files"]]
    assert sorted(filter(None, messages)) == [
        f"{library}/手册/caf\ufffd.txt: its name is not UTF-8",
        "坏.pdf: it is named .pdf but is plain text",
    ]
    again = json.loads(
        run(library, "add", "手册/退款.txt", "手册/*/*.csv", "--json", **plain).stdout
    )
    assert again["counts"] == {"unchanged": 2}
    listed = json.loads(run(library, "list", "--json").stdout)  # in UTF-8
    sources = {each["source"] for each in listed["documents"]}
    assert sources == {f"{library}/手册/退款.txt", f"{library}/手册/表/保修.csv"}
    hit = json.loads(run(library, "search", "退款", "--json", **plain).stdout)["hits"][0]
    assert hit["source"] == f"{library}/手册/退款.txt"
    (library / "手册" / "退款.txt").unlink()
    removed = json.loads(run(library, "remove", "--missing", "--json", **plain).stdout)
    assert removed["sources"] == [f"{library}/手册/退款.txt"]


@pytest.mark.slow
def test_a_reader_that_leaves_is_no_error(library: Path) -> None:
    for command in ("list", "list --json", "--help"):
        shell = f"{sys.executable} -m moli {command} | head -c 1 >/dev/null"
        ran = subprocess.run(shell, shell=True, cwd=library, capture_output=True, timeout=60)
        assert ran.stderr == b"", command


@pytest.mark.slow
def test_commands_and_errors_speak_chinese_in_a_chinese_locale(library: Path) -> None:
    def chinese(*arguments: str, **variables: str) -> str:
        ran = run(library, *arguments, **({"LANG": "zh_CN.UTF-8"} | variables))
        return (ran.stdout + ran.stderr).decode()

    assert "根据文档回答" in chinese("ask", "--help")
    assert "没有命令 fly" in chinese("fly")
    assert "没有名为 suport 的模型" in chinese("ask", "x", "-m", "suport")
    assert "没有设置 MOLI_PORTT" in chinese("list", MOLI_PORTT="1")
    assert "没有对你开放的文档" in chinese("search", "x", "-g", "nobody")
    assert "1 到 100 的整数" in chinese("list", MOLI_PASSAGES="none")
    assert "no model is called" in chinese("ask", "x", "-m", "suport", MOLI_LANGUAGE="en")
    error = json.loads(chinese("ask", "x", "-m", "suport", "--json"))["error"]
    assert error["what"] == "no model is called 'suport'"


@pytest.mark.parametrize("command", ["--help", "models --help", "tune --help", "key --help"])
def test_help_fits_80_columns(moli: Any, command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    for language in ("en", "zh"):
        monkeypatch.setenv("MOLI_LANGUAGE", language)
        lines = moli(*command.split()).out.splitlines()
        assert max(map(cell_len, lines)) <= 80
        assert ("Usage:" in lines[0]) == (language == "en")


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        ("one two three", ["one two", "three"]),
        ("一二三四五六", ["一二三四", "五六"]),
        ("一二三四，五", ["一二三", "四，五"]),
        ("用 moli add 添加", ["用 moli", "add 添加"]),
        ("averylongword x", ["averylongword", "x"]),
        ("", []),
    ],
)
def test_lines_are_broken_at_spaces_and_between_wide_characters(
    text: str, lines: list[str]
) -> None:
    assert wrap(text, 8) == lines


def test_a_table_in_a_pipe_has_a_whole_row_in_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(("id", "title"), [("1", "x" * 200), ("22", "手册")])
    assert capsys.readouterr().out == f"id  title\n1   {'x' * 200}\n22  手册\n"


def test_an_interruption_says_what_is_kept(capsys: pytest.CaptureFixture[str]) -> None:
    import typer

    with pytest.raises(typer.Exit) as ended, on_interrupt("All is kept."):
        raise KeyboardInterrupt
    assert ended.value.exit_code == 130
    assert capsys.readouterr().err == "Interrupted. All is kept.\n"


@pytest.mark.slow
def test_documents_added_before_ctrl_c_are_kept(home: Path) -> None:
    for number in range(3_000):  # more than are added before a busy machine looks again
        text = f"Invoice {number} was paid.\n\n" * 50
        (home / "docs" / f"{number}.txt").write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", "moli", "add", "docs"]
    adding = subprocess.Popen(
        command, cwd=home, env=clean_environment(), stderr=subprocess.PIPE, start_new_session=True
    )
    database = home / ".moli" / "moli.db"
    while adding.poll() is None and count(home) == 0:
        assert database.exists()
    os.killpg(adding.pid, signal.SIGINT)
    assert adding.stderr is not None
    said = adding.stderr.read().decode()
    assert adding.wait(60) == 130
    assert "Files added so far are kept" in said
    assert "Traceback" not in said
    assert 0 < count(home) < 3_000


def count(home: Path) -> int:
    """The number of documents in the workspace."""
    from moli.workspace import Workspace

    with Workspace.open(home) as workspace:
        return workspace.documents.counts()["documents"]
