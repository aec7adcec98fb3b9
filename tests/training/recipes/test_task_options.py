from __future__ import annotations

from pathlib import Path

import pytest

from moli.records.errors import InputError
from moli.training.recipes.recipe import make_recipe, read_recipe
from moli.training.recipes.task_options import DpoOptions, check_options
from moli.training.recipes.task_table import TASKS


def test_every_option_has_a_default_and_says_what_it_is() -> None:
    for spec in TASKS.values():
        assert spec.options() == spec.options()
        assert all(each.description for each in spec.options.model_fields.values())


def test_an_option_replaces_its_default_alone() -> None:
    options = check_options(DpoOptions, {"beta": 0.5}, "recipe.yaml")
    assert options == DpoOptions(beta=0.5, label_smoothing=0.0, length_normalized=False)


@pytest.mark.parametrize(
    ("values", "problem", "fix"),
    [
        ({"betta": 1}, "unknown option 'betta'", "Did you mean 'beta'?"),
        ({"xyzzy": 1}, "unknown option 'xyzzy'",
         "Options: beta, label_smoothing, length_normalized."),
        ({"beta": "much"}, "'options.beta' is 'much': must be a number", "beta: Strength of"),
        ({"beta": 0}, "'options.beta' is 0: must be more than 0.0", "beta: Strength of"),
        ({"beta": float("inf")}, "'options.beta' is inf: must be a finite number", "beta: "),
        ({"length_normalized": "perhaps"}, "'options.length_normalized' is 'perhaps': must be",
         "length_normalized: "),
    ],
)  # fmt: skip
def test_an_option_that_cannot_be_used_is_refused(
    values: dict[str, object], problem: str, fix: str
) -> None:
    with pytest.raises(InputError) as caught:
        check_options(DpoOptions, values, "recipe.yaml")
    assert caught.value.what.startswith(problem)
    assert caught.value.fix.startswith(fix)
    assert caught.value.where == "recipe.yaml"


def test_a_task_without_options_refuses_them() -> None:
    with pytest.raises(InputError, match="'options' has 'beta', but the task has no options"):
        make_recipe({"task": "classification", "data": "a", "options": {"beta": 1}})


def test_a_dotted_key_changes_one_value_of_a_mapping(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text("task: pretraining\ndata: a.txt\nshape: {hidden: 64, layers: 2}\n")
    assert read_recipe(path, {"shape.layers": 3}).shape == {"hidden": 64, "layers": 3}
    alone = make_recipe({"task": "pretraining", "data": "a.txt", "shape.layers": 3})
    assert alone.shape == {"layers": 3}
    with pytest.raises(InputError, match=r"unknown key 'data\.layers'"):
        read_recipe(path, {"data.layers": 3})
