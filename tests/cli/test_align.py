"""`moli align` on the command line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from alignment.small_runs import write_recipe

Moli = Callable[..., Any]


def test_a_recipe_or_a_run_is_needed(moli: Moli) -> None:
    assert moli("align").code == 2
    assert moli("align", "a.yaml", "--resume", "b").code == 2
    assert "no such run" in moli("align", "--resume", "b").err


def test_a_mistake_in_the_recipe_is_named(moli: Moli, home: Path) -> None:
    (home / "align.yaml").write_text("prompts: rows.jsonl\nrewrd: safety\n")
    ran = moli("align", "align.yaml")
    assert ran.code == 1 and "unknown key 'rewrd'. Did you mean 'reward'?" in ran.err
    error = moli("align", "align.yaml", "--json").json["error"]
    assert error["where"].endswith("align.yaml")


@pytest.mark.slow
def test_a_recipe_is_checked_and_run_and_shown(moli: Moli, home: Path) -> None:
    recipe = write_recipe(home)
    checked = moli("align", recipe, "--check")
    assert checked.code == 0 and "Nothing was kept." in checked.out
    ran = moli("align", recipe, "--json")
    assert ran.code == 0 and ran.json["result"]["status"] == "finished"
    run = ran.json["result"]["run"]
    assert run in moli("runs").out
    shown = moli("runs", "show", run).out
    assert "aligned@" in shown and "finished" in shown
    assert "complete" in moli("align", "--resume", run).err
    again = moli("align", recipe)
    assert again.code == 0 and "aligned@" in again.out and "report.html" in again.out
