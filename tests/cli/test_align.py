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


def test_rounds_are_checked_as_a_whole(moli: Moli, home: Path) -> None:
    write_recipe(home)
    rounds = "base: base\nprompts: prompts.jsonl\nreward: rewards.py:likes_w7\nmax_tokens: 6\n"
    path = home / "rounds.yaml"
    path.write_text(rounds + "held_out: 2\nstages:\n  ppo: {reward: 'rewards.py:likes_w7'}\n")
    checked = moli("align", path, "--check")
    shown = " ".join(checked.out.split())
    assert "ppo algorithm ppo, prompts 10, held_out 2" in shown and "Nothing was trained" in shown
    facts = moli("align", path, "--check", "--json").json["check"]
    assert facts == {"ppo": {"algorithm": "ppo", "prompts": 10, "held_out": 2}}
    ran = moli("align", path, "--check", "--set", "stages.ppo.reward=halpful")
    assert ran.code == 1 and "stages: ppo: no model is called 'halpful'" in ran.err
    path.write_text(rounds + "stages:\n  sft:\n  ppo: {reward: 'rewards.py:likes_w7'}\n")
    assert "the stage 'sft' is empty, not a recipe" in moli("align", path, "--check").err


@pytest.mark.slow
@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ("held_out=0", "'held_out' is 0"),
        ("held_out=0.01", "a share of 0.01 of 12 prompts is less than one"),
        ("prompts=one.jsonl", "there is only one prompt"),
    ],
)
def test_a_check_says_why_nothing_is_held_out(
    moli: Moli, home: Path, change: str, reason: str
) -> None:
    recipe = write_recipe(home, held_out=0.1)
    (home / "one.jsonl").write_text('{"prompt": "w1"}\n{"prompt": ""}\n')
    checked = moli("align", recipe, "--check", "--set", change)
    assert checked.code == 0 and f"nothing is held out: {reason}, so" in checked.err
    assert ("one.jsonl:2: the prompt is empty" in checked.err) == change.startswith("prompts")
    assert "MB in the trial step" in checked.out


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
