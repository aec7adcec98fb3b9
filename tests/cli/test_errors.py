from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Moli = Callable[..., Any]


def test_without_a_workspace_the_next_step_is_told(
    moli: Moli, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    ran = moli("list")
    assert (ran.code, ran.out) == (1, "")
    assert ran.err == (
        f"moli: {tmp_path}: no workspace here or in any folder above. "
        "Run 'moli init' to make one, or pass --workspace FOLDER.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "code", "part"),
    [
        (("trace", "ffff"), "not_found", "no trace begins with 'ffff'"),
        (("remove", "nowhere.txt"), "not_found", "nowhere.txt"),
        (("ask", " "), "input", "the question is empty"),
        (("ask", "x", "--model", "builtin:none"), "not_found", "builtin:none"),
        (("ask", "x", "--model", "builtin:minilm"), "model", "an encoder"),
        (("ask", "x", "--model", "openai:nowhere"), "model", "openai:NAME@"),
        (("list", "--workspace", "/proc"), "workspace", "moli init"),
        (("index", "tune"), "input", "no query names a document"),
    ],
)
def test_an_error_is_json_for_programs_and_one_line_for_people(
    moli: Moli, arguments: tuple[str, ...], code: str, part: str
) -> None:
    ran = moli(*arguments, "--json")
    assert (ran.code, ran.err) == (1, "")
    error = ran.json["error"]
    assert set(error) == {"code", "message", "what", "where", "fix"}
    assert error["code"] == code
    assert part in error["message"]
    plain = moli(*arguments)
    assert (plain.code, plain.out) == (1, "")
    assert plain.err == f"moli: {error['message']}\n"


def test_a_setting_that_is_misspelt_is_told_with_the_one_that_was_meant(
    moli: Moli, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOLI_PASAGES", "3")
    assert "MOLI_PASSAGES" in moli("list").err
    monkeypatch.delenv("MOLI_PASAGES")
    (home / "moli.toml").write_text("prot = 1")
    assert moli("list", "--json").json["error"]["code"] == "settings"


@pytest.mark.parametrize(
    "arguments", [("add",), ("search", "x", "-n", "0"), ("search", "x", "--where", "y"), ("fly",)]
)
def test_wrong_usage_ends_with_two(moli: Moli, arguments: tuple[str, ...]) -> None:
    ran = moli(*arguments)
    assert (ran.code, ran.out) == (2, "")
    assert "Usage" in ran.err


def test_labelled_queries_that_are_not_there_are_told_in_a_line(moli: Moli) -> None:
    ran = moli("index", "tune", "--queries", "absent.jsonl")
    assert ran.code in (1, 2)
    assert "absent.jsonl" in ran.err
    assert "Traceback" not in ran.err
