"""The recipe that learns from a reward of a few lines."""

from __future__ import annotations

from pathlib import Path

import pytest
from conftest import write_settings

from moli.alignment.recipe import read_alignment_recipe
from moli.alignment.run import align
from moli.workspace import Workspace

RECIPE = Path(__file__).resolve().parents[2] / "examples" / "recipes" / "sea.yaml"


@pytest.mark.slow
def test_the_recipe_runs_at_once_in_a_fresh_workspace(tmp_path: Path) -> None:
    write_settings(tmp_path, confidence=0.0)
    recipe = read_alignment_recipe(RECIPE)
    assert (recipe.base, recipe.steps) == ("builtin:starter", 20)
    with Workspace.init(tmp_path) as workspace:
        result = align(recipe.model_copy(update={"steps": 2}), workspace)
        assert result.status == "finished"
        assert result.model == workspace.models.get("sea").name
        assert result.facts["sample_answers"][0]["before"]
