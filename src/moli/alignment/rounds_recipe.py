"""A recipe for rounds: several runs, each of which begins with the results of those before."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from moli.alignment.recipe import (
    AlignmentRecipe,
    make_alignment_recipe,
    placed,
    read_alignment_recipe,
)
from moli.alignment.rewards.load import PARTS, RewardSpec, check_reward_spec
from moli.records.errors import InputError
from moli.training.recipes.field_errors import check_known_keys, explain_value_error
from moli.training.recipes.recipe import (
    Columns,
    Paths,
    Recipe,
    RoleNames,
    changed_name,
    check_mappings,
    make_recipe,
    read_recipe_values,
    with_changes,
)
from moli.workspace.aliases import check_alias
from moli.workspace.datasets.fields import kind_of

_MAPPINGS = ("stages", "reward", "columns", "roles")  # keys of names with values
_PROMPTS = ("prompts", "columns", "roles")
_SHARED = ("held_out", "max_tokens", "temperature")  # with stages that have a reward


class RoundsRecipe(BaseModel):
    """A recipe of stages that `moli align` runs one after the other, in one round or several."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    base: str = Field("builtin:starter", description="Model that the first round starts from")
    prompts: Paths = Field(description="Prompts to learn from, and to evaluate rounds on")
    columns: Columns = Field({}, description="Maps Moli's column names to yours")
    roles: RoleNames = Field({}, description="Maps Moli's roles of turns to your names for them")
    stages: dict[str, dict[str, Any]] = Field(
        min_length=1,
        description="Recipes by name, run in their order: of 'moli tune' with a task, or of "
        "'moli align' with a reward, which may be a reward model of an earlier stage",
    )
    rounds: int = Field(1, ge=1, description="Number of rounds")
    reward: RewardSpec = Field(
        description="Compares rounds and chooses new pairs; best one that no stage learns from"
    )
    judge: str = Field("", description="Chat model that compares rounds, too")
    held_out: float = Field(0.1, gt=0, description="Prompts to compare rounds on, as in a recipe")
    pairs: int = Field(
        4, ge=0, description="Answers to each prompt, of which the best and worst are a new pair"
    )
    max_tokens: int = Field(128, ge=1, description="Maximum tokens of an answer")
    temperature: float = Field(1.0, gt=0, le=10, description="Temperature of sampling")
    seed: int = Field(0, ge=0, lt=1 << 31, description="Seed of all stages")
    name: str = Field("", description="Alias of the last round's result")

    def stage_recipe(
        self, name: str, base: str, models: Mapping[str, str], pairs: tuple[Path, ...] = ()
    ) -> Recipe | AlignmentRecipe:
        """The recipe of a stage.

        Args:
            base: the model to start from, unless the stage names one.
            models: the models of earlier stages by their names, which the reward may name.
            pairs: files with pairs of earlier rounds, from which reward models learn, too.

        Raises:
            InputError: a key of it is unknown or a value cannot be used.
        """
        values = {"base": base, "seed": self.seed, **self.stages[name]}
        where = f"stages: {name}"
        if "task" in values:
            if values["task"] == "reward" and pairs:
                data = values["data"]
                own = data if isinstance(data, list | tuple) else [data]
                values["data"] = [*own, *pairs]
            return make_recipe(values, where=where)
        # Prompts of a stage's own have columns of their own.
        shared = _SHARED if "prompts" in values else (*_PROMPTS, *_SHARED)
        values = {key: getattr(self, key) for key in shared} | values
        for key in ("reward", "held_out_reward"):
            if key in values:
                values[key] = with_models(values[key], models)
        return make_alignment_recipe(values, where=where)

    def sampling(self, model: str) -> AlignmentRecipe:
        """A recipe that says how a model samples."""
        keys = (*_PROMPTS, "reward", "max_tokens", "temperature", "seed")
        return AlignmentRecipe(base=model, **{key: getattr(self, key) for key in keys})


def with_models(spec: Any, models: Mapping[str, str]) -> Any:
    """A reward in which the names of stages are replaced by those of their models."""
    if isinstance(spec, Mapping):
        return {
            key: with_models(value, models) if key in (*PARTS, "model") else value
            for key, value in spec.items()
        }
    return models.get(spec, spec) if isinstance(spec, str) else spec


def make_rounds_recipe(
    values: Mapping[str, Any], folder: Path, *, where: str = "recipe"
) -> RoundsRecipe:
    """Make a recipe of rounds from its values; relative paths start from a folder.

    Raises:
        InputError: a key is unknown (the nearest known one is named) or a value cannot be used.
    """
    values = placed(values, folder)
    _check_keys(values, where)
    try:
        recipe = RoundsRecipe(**values)
    except ValidationError as error:
        raise explain_value_error(error, values, RoundsRecipe, where) from error
    if recipe.name:
        check_alias(recipe.name)
    check_reward_spec(recipe.reward, where)
    for name in recipe.stages:
        check_alias(name)
        if "name" in recipe.stages[name]:
            raise InputError(
                f"the stage '{name}' has a 'name'",
                where=where,
                fix="Leave it out: the last result gets the name of the whole recipe.",
            )
        recipe.stage_recipe(name, recipe.base, {})
    return recipe


def _check_keys(values: Mapping[str, Any], where: str) -> None:
    """Check that a recipe has only known keys, and that each of its stages has keys.

    Raises:
        InputError: a key is unknown or stands outside of its stage, or a stage is no mapping.
    """
    for key in values:
        of_stages = key in AlignmentRecipe.model_fields or key in Recipe.model_fields
        if of_stages and key not in RoundsRecipe.model_fields:
            raise InputError(
                f"'{key}' stands outside of the stages",
                where=where,
                fix="Write it in each stage that needs it.",
            )
    check_known_keys(values, RoundsRecipe, where)
    check_mappings(values, where)
    stages = values.get("stages")
    for name, stage in stages.items() if isinstance(stages, Mapping) else ():
        if not isinstance(stage, Mapping) or not stage:
            raise InputError(
                f"the stage '{name}' is {kind_of(stage) if stage else 'empty'}, not a recipe",
                where=where,
                fix=f"Write it as `{name}: {{task: instruction, data: FILE}}`, or remove it.",
            )


def read_align_recipe(
    path: Path, changes: Mapping[str, Any] | None = None
) -> AlignmentRecipe | RoundsRecipe:
    """Read a recipe for `moli align`: of one run, or with stages of rounds.

    Relative paths in it start from its folder.

    Args:
        changes: values that override the file's, such as those of `options.beta` or
            `stages.ppo.steps`; relative paths among them start from the current folder.

    Raises:
        InputError: the file cannot be read, a key is unknown or a value cannot be used.
    """
    values = read_recipe_values(path)
    if "stages" not in values:
        return read_alignment_recipe(path, changes)
    values = with_changes(placed(values, path.parent.absolute()), changes or {}, _MAPPINGS)
    return make_rounds_recipe(values, Path.cwd(), where=changed_name(path, changes))
