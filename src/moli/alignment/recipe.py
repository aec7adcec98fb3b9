"""A recipe for a run that learns from rewards. What is left out is derived."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from moli.alignment.alarms import AlarmLimits
from moli.alignment.algorithms.protocol import AlgorithmOptions
from moli.alignment.algorithms.table import ALGORITHMS, make_algorithm
from moli.alignment.rewards.load import PARTS, RewardSpec, check_reward_spec
from moli.training.recipes.field_errors import check_known_keys, explain_value_error
from moli.training.recipes.recipe import (
    Columns,
    Paths,
    RoleNames,
    changed_name,
    check_mappings,
    read_recipe_values,
    with_changes,
)
from moli.training.recipes.task_options import check_options
from moli.workspace.aliases import check_alias
from moli.workspace.paths import (
    absolute_values,
    located_values,
    placed_values,
    relative_values,
)

Tracker = Literal["tensorboard", "mlflow", "wandb"]
# Keys of names with values.
_MAPPINGS = ("options", "alarms", "reward", "held_out_reward", "columns", "roles")
_PathChange = Callable[[Mapping[str, Any]], dict[str, Any]]  # of the paths of a training recipe


class AlignmentRecipe(BaseModel):
    """A recipe for `moli align`. A value of None or "" is derived when the run begins."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    base: str = Field("builtin:starter", description="Model to start from, which is the reference")
    prompts: Paths = Field(description="Prompts: any data set that has some; answers are not read")
    columns: Columns = Field({}, description="Maps Moli's column names to yours")
    roles: RoleNames = Field({}, description="Maps Moli's roles of turns to your names for them")
    algorithm: str = Field("ppo", description="ppo, rloo, grpo or rejection")
    options: dict[str, Any] = Field({}, description="Options of the algorithm, by name")
    reward: RewardSpec = Field(
        description="What scores answers: a reward model, {safety, helpfulness}, FILE.py:FUNCTION, "
        "MODULE:FUNCTION, a URL, {check}, {regex}, {json} or {rubric, model}"
    )
    held_out: float = Field(
        0.1, ge=0, description="Prompts to evaluate on: a share below 1, or their number"
    )
    held_out_reward: RewardSpec | None = Field(
        None, description="Reward of evaluations; best another one than that of training"
    )
    judge: str = Field("", description="Chat model that compares answers before and after")
    steps: int = Field(50, ge=1, description="Batches of answers to learn from")
    batch: int = Field(16, ge=1, description="Prompts in a step")
    max_tokens: int = Field(128, ge=1, description="Maximum tokens of an answer")
    temperature: float = Field(1.0, gt=0, le=10, description="Temperature of sampling")
    learning_rate: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Peak learning rate"
    )
    rank: int = Field(16, ge=1, le=1024, description="Rank of the adapters")
    seed: int = Field(0, ge=0, lt=1 << 31, description="Seed for sampling, order and new weights")
    alarms: dict[str, Any] = Field({}, description="Limits that stop a run which is being gamed")
    trackers: tuple[Tracker, ...] = Field((), description="Other places to report to")
    name: str = Field("", description="Alias of the result in the workspace")

    @property
    def prompts_name(self) -> str:
        """The paths of the prompts, for messages."""
        paths = [self.prompts] if isinstance(self.prompts, Path) else self.prompts
        return ", ".join(map(str, paths))


def read_alignment_recipe(path: Path, changes: Mapping[str, Any] | None = None) -> AlignmentRecipe:
    """Read a recipe from a YAML file; relative paths in it start from its folder.

    Args:
        changes: values that override the file's, `options.beta` a single option; relative paths
            among them start from the current folder.

    Raises:
        InputError: the file cannot be read, a key is unknown or a value cannot be used.
    """
    values = placed(read_recipe_values(path), path.parent.absolute())
    values = with_changes(values, changes or {}, _MAPPINGS)
    return make_alignment_recipe(values, where=changed_name(path, changes))


def make_alignment_recipe(values: Mapping[str, Any], *, where: str = "recipe") -> AlignmentRecipe:
    """Make a recipe from its values; relative paths start from the current folder.

    Args:
        where: the file or option that errors name.

    Raises:
        InputError: a key is unknown (the nearest known one is named) or a value cannot be used.
    """
    values = placed({key: value for key, value in values.items() if value is not None}, Path.cwd())
    _, options = ALGORITHMS.get(str(values.get("algorithm", "ppo")), (None, AlgorithmOptions))
    check_known_keys(values, AlignmentRecipe, where, options.model_fields)
    check_mappings(values, where)
    try:
        recipe = AlignmentRecipe(**values)
    except ValidationError as error:
        raise explain_value_error(error, values, AlignmentRecipe, where) from error
    if recipe.name:
        check_alias(recipe.name)
    make_algorithm(recipe.algorithm, recipe.options, where=where)
    check_options(AlarmLimits, recipe.alarms, where, key="alarms")
    for spec in (recipe.reward, recipe.held_out_reward):
        check_reward_spec(spec, where) if spec is not None else None
    return recipe


def placed(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A recipe's values with relative paths starting from a folder, also those of stages."""
    return _with_changed_paths(values, lambda paths: placed_values(paths, folder))


def stored_values(recipe: BaseModel, root: Path) -> dict[str, Any]:
    """A recipe's values as they are stored, with paths in a workspace relative to its folder."""
    values = recipe.model_dump(mode="json")
    return _with_changed_paths(values, lambda paths: relative_values(paths, root))


def read_stored_values(path: Path, root: Path) -> dict[str, Any]:
    """The values of a recipe that was stored, with its paths as they are now."""
    values = json.loads(path.read_text(encoding="utf-8"))
    values = _with_changed_paths(values, lambda paths: absolute_values(paths, root))
    return _with_changed_paths(values, lambda paths: located_values(paths, root))


def _with_changed_paths(values: Mapping[str, Any], change: _PathChange) -> dict[str, Any]:
    """A recipe's values with a change of its paths, and of those of its stages.

    They are the base, the prompts, files of rewards, and in a stage all paths of its task.
    """
    changed = dict(values)
    if "base" in values:
        changed["base"] = change({"base": values["base"]})["base"]
    if "prompts" in values:
        changed["prompts"] = change({"data": values["prompts"]})["data"]
    for key in ("reward", "held_out_reward"):
        if key in values:
            changed[key] = _with_changed_file(values[key], change)
    if isinstance(stages := values.get("stages"), Mapping):
        changed["stages"] = {
            name: change(_with_changed_paths(stage, change))
            if isinstance(stage, Mapping)
            else stage
            for name, stage in stages.items()
        }
    return changed


def _with_changed_file(spec: Any, change: _PathChange) -> Any:
    """A reward with a change of the path of its Python file, if it has one."""
    if isinstance(spec, Mapping):
        return {
            key: _with_changed_file(value, change) if key in PARTS else value
            for key, value in spec.items()
        }
    file, _, function = spec.rpartition(":") if isinstance(spec, str) else ("", "", "")
    if not file.endswith(".py"):
        return spec
    return f"{change({'data': file})['data']}:{function}"
