"""The check of rounds before their first stage: names, files and data of all stages."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from moli.alignment.policy_model import make_policy
from moli.alignment.prompts import Prompts, read_prompts
from moli.alignment.recipe import AlignmentRecipe
from moli.alignment.rewards.load import NameCheck, check_reward
from moli.alignment.rounds_recipe import RoundsRecipe
from moli.alignment.run import check_names, with_whole_base
from moli.records.errors import InputError, NotFoundError
from moli.training.data import read_data
from moli.training.recipes.recipe import Recipe
from moli.training.run import check_files
from moli.training.setup.feedback import with_feedback
from moli.training.tasks import make_task
from moli.training.trained.names import check_named_chat, find_named, find_stored
from moli.training.trained.reward_model import check_reward_model, check_task
from moli.workspace import Workspace


def check_rounds(recipe: RoundsRecipe, workspace: Workspace) -> dict[str, dict[str, Any]]:
    """Read the data of all stages, and check all that they name; nothing is trained.

    Returns:
        For each stage its task or algorithm, and numbers of examples or prompts.

    Raises:
        MoliError: something is not there, or cannot be used.
    """
    earlier: dict[str, Recipe | AlignmentRecipe] = {}
    facts = {}
    for name in recipe.stages:
        stage = recipe.stage_recipe(name, recipe.base, {})
        with _located(f"stages: {name}"):
            if isinstance(stage, Recipe):
                facts[name] = _check_tuning(stage, workspace)
            else:
                check_names(stage, workspace, _name_check(earlier, list(recipe.stages), workspace))
                facts[name] = _prompt_facts(stage, workspace)
        earlier[name] = stage
    check_reward(recipe.reward, workspace, _name_check(earlier, [], workspace))
    if recipe.judge:
        check_named_chat(recipe.judge, workspace)
    if not _read_prompts(recipe.sampling(recipe.base), workspace, recipe.held_out).held_out:
        raise InputError(
            f"'held_out' is {recipe.held_out:g}, which leaves no prompt to compare rounds on",
            where="recipe",
            fix="Add prompts, or set a larger share or a number, as held_out: 1.",
        )
    return facts


@contextmanager
def _located(where: str) -> Iterator[None]:
    """Errors of what is done in it name the stage, too."""
    try:
        yield
    except (InputError, NotFoundError) as error:
        place = f"{where}: {error.where}" if error.where else where
        raise type(error)(error.what, place, error.fix) from error


def _check_tuning(recipe: Recipe, workspace: Workspace) -> dict[str, Any]:
    """The numbers of examples of a stage of `moli tune`."""
    recipe = with_feedback(recipe, workspace)
    if recipe.base != "new":
        find_named(recipe.base, workspace.models)
    check_files(recipe)
    data = read_data(recipe, make_task(recipe).example_types)
    return {"task": recipe.task, "examples": len(data.train), "held_out": len(data.held_out)}


def _prompt_facts(recipe: AlignmentRecipe, workspace: Workspace) -> dict[str, Any]:
    """The numbers of prompts of a stage with a reward."""
    facts = _read_prompts(recipe, workspace, recipe.held_out).facts
    numbers = {key: facts[key] for key in ("prompts", "held_out")}
    return {"algorithm": recipe.algorithm, **numbers}


def _read_prompts(recipe: AlignmentRecipe, workspace: Workspace, held_out: float) -> Prompts:
    """The prompts as the base reads them, whose tokenizer all stages have."""
    policy = make_policy(with_whole_base(recipe, workspace))
    longest = policy.max_prompt(recipe.max_tokens)
    return read_prompts(policy.recipe, policy.tokenizer, max_length=longest, held_out=held_out)


def _name_check(
    earlier: Mapping[str, Recipe | AlignmentRecipe], stages: list[str], workspace: Workspace
) -> NameCheck:
    """A check of names of reward models, which may be those of earlier stages.

    Args:
        stages: the names of all stages, to tell a later one; empty at the end.
    """
    before = dict(earlier)

    def check(name: str, is_strict: bool) -> None:
        if name in before:
            _check_stage(name, before[name], is_strict=is_strict)
            return
        try:
            stored = find_stored(workspace.models, name)
        except NotFoundError as error:
            if name in stages:
                what = f"the stage '{name}' does not run before this one"
                fix = "Put it before the stages that use its reward model."
                raise InputError(what, fix=fix) from error
            near = difflib.get_close_matches(name, before, n=1)
            fix = f"Did you mean '{near[0]}'?" if near else error.fix
            raise NotFoundError(error.what, error.where, fix) from error
        check_reward_model(stored, must_be_calibrated=is_strict)

    return check


def _check_stage(name: str, recipe: Recipe | AlignmentRecipe, *, is_strict: bool) -> None:
    """Check that a stage makes a reward model that may be used.

    Raises:
        InputError: it does not, or its model could not be calibrated.
    """
    check_task(recipe.task if isinstance(recipe, Recipe) else recipe.algorithm, name)
    if is_strict and isinstance(recipe, Recipe) and not recipe.held_out:
        raise InputError(
            f"the stage '{name}' holds nothing out, so its reward model cannot be calibrated",
            where=name,
            fix=f"Set held_out in it, or write {{model: {name}, calibrated: false}}.",
        )
