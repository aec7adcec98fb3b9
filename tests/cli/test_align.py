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
    assert moli("align", "--resume", "b", "--set", "steps=3").code == 2
    assert "no such run" in moli("align", "--resume", "b").err


def test_a_mistake_in_the_recipe_is_named(moli: Moli, home: Path) -> None:
    (home / "align.yaml").write_text("prompts: rows.jsonl\nrewrd: safety\n")
    ran = moli("align", "align.yaml")
    assert ran.code == 1 and "unknown key 'rewrd'. Did you mean 'reward'?" in ran.err
    error = moli("align", "align.yaml", "--json").json["error"]
    assert error["where"].endswith("align.yaml")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("steps=0", "align.yaml (steps=0): 'steps' is 0"),
        ("stepps=3", "align.yaml (stepps=3): unknown key 'stepps'. Did you mean 'steps'?"),
        ("options.betta=1", "Did you mean 'beta'?"),
        ("alarms.kl=no", "'alarms.kl' is 'no'"),
        ("reward.safety=guard", "unknown key 'reward.safety'. Did you mean 'reward'?"),
        ("steps=[1", "--set: 'steps' cannot be read"),
    ],
)
def test_a_mistake_in_a_change_is_named(moli: Moli, home: Path, change: str, message: str) -> None:
    (home / "align.yaml").write_text("prompts: rows.jsonl\nreward: safety\n")
    ran = moli("align", "align.yaml", "--check", "--set", change)
    assert ran.code == 1 and message in ran.err


@pytest.mark.slow
def test_a_recipe_is_checked_and_run_and_shown(moli: Moli, home: Path) -> None:
    recipe = write_recipe(home)
    checked = moli("align", recipe, "--check", "--set", "options.answers_per_prompt=3")
    assert checked.code == 0 and "Nothing was kept." in checked.out
    assert "answers_per_step 12" in " ".join(checked.out.split())
    ran = moli("align", recipe, "--json")
    assert ran.code == 0 and ran.json["result"]["status"] == "finished"
    run = ran.json["result"]["run"]
    assert run in moli("runs").out
    shown = moli("runs", "show", run).out
    assert "aligned@" in shown and "finished" in shown
    assert "complete" in moli("align", "--resume", run).err
    again = moli("align", recipe)
    assert again.code == 0 and "aligned@" in again.out and "report.html" in again.out
