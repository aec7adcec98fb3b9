"""Recipes of `moli align`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from moli.alignment.recipe import (
    AlignmentRecipe,
    make_alignment_recipe,
    read_alignment_recipe,
)
from moli.alignment.rounds_recipe import RoundsRecipe, read_align_recipe, with_models
from moli.records.errors import InputError

GOOD: dict[str, Any] = {"prompts": "rows.jsonl", "reward": "safety"}


def test_a_recipe_is_small_and_has_defaults() -> None:
    assert len(AlignmentRecipe.model_fields) <= 20
    recipe = make_alignment_recipe(GOOD)
    assert (recipe.base, recipe.algorithm, recipe.held_out) == ("builtin:starter", "ppo", 0.1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"promts": "a"}, "unknown key 'promts'. Did you mean 'prompts'?"),
        ({"lr": 1e-4}, "unknown key 'lr'. Did you mean 'learning_rate'?"),
        ({"model": "smollm2"}, "Did you mean 'base'?"),
        ({"beta": 0.1}, "It is an option. Write it as `options: {beta: 0.1}`."),
        ({"beta": 0.1, "options": {"epochs": 2}}, "as `options: {epochs: 2, beta: 0.1}`."),
        ({"steps": 0}, "'steps' is 0"),
        ({"temperature": 0}, "'temperature' is 0"),
        ({"algorithm": "pppo"}, "Did you mean 'ppo'?"),
        ({"options": {"betta": 1}}, "Did you mean 'beta'?"),
        ({"alarms": {"kll": 1}}, "unknown option 'kll'. Did you mean 'kl'?"),
        ({"reward": {"safty": "a", "helpfulness": "b"}}, "Did you mean 'safety'?"),
        ({"reward": {"check": "exact"}}, "there is no check 'exact'"),
        ({"reward": {"safety": "a"}}, "of no known kind. Add 'helpfulness'."),
        ({"reward": {"rubric": "Polite."}}, "of no known kind. Add 'model'."),
        ({"reward": {"safety": None, "helpfulness": "b"}}, "None is of no known kind"),
        ({"reward": {"safety": "a", "helpfulness": "b", "threshold": 15}}, "'threshold' is 15"),
        ({"reward": {"safety": "a", "helpfulness": "b", "threshold": "x"}}, "'threshold' is 'x'"),
        ({"reward": None}, "'reward' is missing"),
        ({"held_out_reward": {}}, "a reward with no keys"),
    ],
)
def test_what_is_wrong_is_said_with_the_nearest_name(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as raised:
        make_alignment_recipe({**GOOD, **changes})
    assert message in str(raised.value)


def test_paths_start_from_the_recipe_file(tmp_path: Path) -> None:
    path = tmp_path / "align.yaml"
    path.write_text(
        "prompts: [rows.jsonl, more.jsonl]\nbase: smollm2\n"
        "reward: {safety: guard, helpfulness: 'mine.py:helpful'}\n"
    )
    recipe = read_alignment_recipe(path)
    assert recipe.prompts == (tmp_path / "rows.jsonl", tmp_path / "more.jsonl")
    assert recipe.reward == {"safety": "guard", "helpfulness": f"{tmp_path}/mine.py:helpful"}
    assert recipe.base == "smollm2"


def test_values_are_changed_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "recipes" / "align.yaml"
    path.parent.mkdir()
    path.write_text(
        "prompts: rows.jsonl\nsteps: 5\noptions: {beta: 0.1, epochs: 2}\n"
        "reward: {safety: guard, helpfulness: 'mine.py:helpful'}\n"
    )
    monkeypatch.chdir(tmp_path)
    changes = {"steps": 7, "options.beta": 0.2, "alarms.kl": 12, "reward.safety": "my.py:safe"}
    recipe = read_align_recipe(path, changes)
    assert isinstance(recipe, AlignmentRecipe)
    assert (recipe.steps, recipe.options) == (7, {"beta": 0.2, "epochs": 2})
    assert recipe.alarms == {"kl": 12} and recipe.prompts == path.parent / "rows.jsonl"
    assert recipe.reward == {
        "safety": f"{tmp_path}/my.py:safe",
        "helpfulness": f"{path.parent}/mine.py:helpful",
    }
    whole = read_align_recipe(path, {"options": {"epochs": 3}, "prompts": "new.jsonl"})
    assert isinstance(whole, AlignmentRecipe)
    assert (whole.options, whole.prompts) == ({"epochs": 3}, tmp_path / "new.jsonl")


def test_values_of_stages_are_changed(tmp_path: Path) -> None:
    path = tmp_path / "rounds.yaml"
    path.write_text(
        "prompts: rows.jsonl\nreward: judge\n"
        "stages:\n  sft: {task: instruction, data: chats.jsonl}\n  ppo: {reward: judge}\n"
    )
    changes = {"rounds": 3, "stages.ppo.options.beta": 0.2, "stages.sft.epochs": 2}
    recipe = read_align_recipe(path, changes)
    assert isinstance(recipe, RoundsRecipe) and recipe.rounds == 3
    assert recipe.stages["ppo"] == {"reward": "judge", "options": {"beta": 0.2}}
    assert recipe.stages["sft"]["epochs"] == 2
    assert recipe.stages["sft"]["data"] == str(tmp_path / "chats.jsonl")
    with pytest.raises(InputError, match="unknown option 'betta'"):
        read_align_recipe(path, {"stages.ppo.options.betta": 0.2})
    with pytest.raises(InputError, match=r"\(stages.ppo=3\): the stage 'ppo' is a number"):
        read_align_recipe(path, {"stages.ppo": 3})
    with pytest.raises(InputError, match="the stage 'ppo' is empty, not a recipe"):
        read_align_recipe(path, {"stages.ppo": None})
    with pytest.raises(InputError, match="'steps' stands outside of the stages"):
        read_align_recipe(path, {"steps": 3})


def test_only_reward_models_are_names_of_stages(tmp_path: Path) -> None:
    models = {"number": "1" * 8, "safe": "2" * 8}
    for check in ({"check": "number"}, {"regex": "safe"}, {"rubric": "safe", "model": "gpt"}):
        assert with_models(check, models) == check
    gate = {"safety": {"model": "safe"}, "helpfulness": "number", "threshold": 0.2}
    assert with_models(gate, models) == {
        "safety": {"model": "2" * 8}, "helpfulness": "1" * 8, "threshold": 0.2,
    }  # fmt: skip
    pattern = {"regex": r"see rows.py:\d+"}
    assert make_alignment_recipe({**GOOD, "reward": pattern}).reward == pattern
