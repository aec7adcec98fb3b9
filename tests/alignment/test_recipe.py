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
        ({"steps": 0}, "'steps' is 0"),
        ({"temperature": 0}, "'temperature' is 0"),
        ({"algorithm": "pppo"}, "Did you mean 'ppo'?"),
        ({"options": {"betta": 1}}, "Did you mean 'beta'?"),
        ({"alarms": {"kll": 1}}, "unknown option 'kll'. Did you mean 'kl'?"),
        ({"reward": {"safty": "a", "helpfulness": "b"}}, "Did you mean 'safety'?"),
        ({"reward": {"check": "exact"}}, "there is no check 'exact'"),
        ({"reward": {"safety": "a"}}, "of no known kind"),
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
