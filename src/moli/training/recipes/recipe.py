"""A recipe: everything a person may set for a training run. What is left out is derived."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from moli.records.errors import InputError
from moli.training.recipes.method_table import MethodName
from moli.training.recipes.task_table import TASKS, TaskName
from moli.workspace.aliases import check_alias

Paths = Path | tuple[Path, ...]

_PATHS = ("data", "held_out", "template")
_PERCENTAGE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?%")


class Recipe(BaseModel):
    """A recipe for a training run. A value of None or "" is derived when the run begins."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    task: TaskName = Field(description="What the model learns to do")
    base: str = Field(description="Model to start from; `new`: a new one of the given shape")
    data: Paths = Field(description="Training examples: a file, a folder, a pattern, or a list")
    held_out: Paths | float = Field(
        0.05, description="Examples to evaluate on: files as for `data`, or a share of `data`"
    )
    columns: dict[str, str] = Field({}, description="Maps Moli's column names to yours")
    label_separator: str = Field(
        "", description="Text between the labels in one cell, such as ';', if there are several"
    )
    method: MethodName | None = Field(None, description="Training method: full, or an adapter")
    rank: int = Field(16, ge=1, le=1024, description="Rank, or width, of an adapter")
    epochs: float | None = Field(
        None,
        ge=0,
        allow_inf_nan=False,
        description="Passes over the data; may be a fraction. 0: only fit a classifier's head",
    )
    batch: int | None = Field(None, ge=1, description="Examples per optimiser step")
    learning_rate: float | None = Field(
        None, gt=0, allow_inf_nan=False, description="Peak learning rate"
    )
    max_length: int | None = Field(
        None, ge=8, description="Maximum tokens per example; longer ones are truncated"
    )
    dropout: float | None = Field(
        None,
        ge=0,
        lt=1,
        description="Dropout rate for the whole model; default: the base's, and none in attention",
    )
    optimizer: Literal["adamw", "muon"] | None = Field(None, description="Optimiser")
    precision: Literal["bf16", "fp32"] | None = Field(None, description="Compute precision")
    seed: int = Field(
        0, ge=0, lt=1 << 63, description="Seed for data order, new weights and dropout"
    )
    patience: int | None = Field(
        None, ge=0, description="Evaluations without improvement before stopping; 0: never"
    )
    shape: dict[str, int] = Field({}, description="Size of a new model: hidden, layers, heads, ...")
    template: Path | None = Field(None, description="Chat template (Jinja) in place of the base's")
    special_tokens: tuple[str, ...] = Field(
        (), description="Special tokens that texts of users and tools may use; others are letters"
    )
    trackers: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = Field(
        (), description="Other places to report to"
    )
    name: str = Field("", description="Alias of the result in the workspace")

    @field_validator("columns", mode="before")
    @classmethod
    def _join_columns(cls, columns: Any) -> Any:
        """The mapping with a list of columns, one for each label, as one text."""
        if not isinstance(columns, dict):
            return columns
        return {
            ours: ", ".join(map(str, theirs)) if isinstance(theirs, list) else theirs
            for ours, theirs in columns.items()
        }

    @property
    def data_name(self) -> str:
        """The training data's path or paths, for messages."""
        paths = [self.data] if isinstance(self.data, Path) else self.data
        return ", ".join(map(str, paths))


def read_recipe(path: Path, changes: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe from a YAML file; relative paths in it start from its folder.

    Args:
        changes: values that override the file's; relative paths among them start from the
            current folder.

    Raises:
        InputError: the file cannot be read, a key is unknown or a value cannot be used.
    """
    from moli.training.recipes.yaml_values import colon_advice, load_yaml
    from moli.workspace.datasets.text_files import read_text_file

    try:
        text = read_text_file(path)
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror})", where=str(path), fix="Give a YAML file."
        ) from error
    values = load_yaml(text, str(path))
    if not isinstance(values, dict):
        fix = "Write 'task: ...' and 'data: ...', one key per line."
        raise InputError("not a recipe", where=str(path), fix=colon_advice(text) or fix)
    return make_recipe(
        values | _with_absolute_paths(changes or {}), where=str(path), folder=path.parent
    )


def _with_absolute_paths(changes: Mapping[str, Any]) -> dict[str, Any]:
    """Values with their paths made absolute, relative to the current folder."""
    absolute = dict(changes)
    for key, value in changes.items():
        path = Path(value).expanduser() if isinstance(value, str) else Path()
        if isinstance(value, str) and (key in _PATHS or (key == "base" and path.is_dir())):
            absolute[key] = str(path.absolute())
        elif isinstance(value, list) and key in _PATHS:
            absolute[key] = [str(Path(path).expanduser().absolute()) for path in value]
    return absolute


def make_recipe(
    values: Mapping[str, Any], *, where: str = "recipe", folder: Path | None = None
) -> Recipe:
    """Make a recipe from its values.

    Args:
        where: the file or option that errors name.
        folder: the folder that relative paths start from; by default the current folder.

    Raises:
        InputError: a key is unknown (the nearest known one is named) or a value cannot be used.
    """
    values = {key: _as_number(value) for key, value in values.items() if value is not None}
    spec = TASKS.get(str(values.get("task")))
    values = {"base": spec.base if spec else "", **values}
    for key in values:
        if key not in Recipe.model_fields:
            raise InputError(f"unknown key '{key}'", where=where, fix=_suggest_key(str(key)))
    try:
        recipe = Recipe(**values)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        if first["type"] == "missing":
            raise InputError(f"'{key}' is missing", where=where, fix=_describe_key(key)) from error
        raise InputError(
            f"'{key}' is {first['input']!r}: {first['msg'].lower()}",
            where=where,
            fix=_describe_key(key),
        ) from error
    if recipe.name:
        check_alias(recipe.name)
    start = folder or Path()
    paths = {
        key: _paths_from(start, value)
        for key in _PATHS
        if isinstance(value := getattr(recipe, key), Path | tuple)
    }
    base = start / Path(recipe.base).expanduser()
    is_folder = recipe.base and base.is_dir()
    return recipe.model_copy(update=paths | ({"base": str(base)} if is_folder else {}))


def _paths_from(folder: Path, paths: Paths) -> Paths:
    """Paths that start from a folder, unless they are absolute; ~ is the home folder."""
    if isinstance(paths, Path):
        return folder / paths.expanduser()
    return tuple(folder / path.expanduser() for path in paths)


def _as_number(value: Any) -> Any:
    """The share that a percentage is, such as 0.2 for "20%"; any other value itself."""
    percentage = _PERCENTAGE.fullmatch(value) if isinstance(value, str) else None
    return float(percentage[1]) / 100 if percentage else value


def _suggest_key(key: str) -> str:
    """A hint with the known key that is most like an unknown one, or with all keys."""
    near = difflib.get_close_matches(key, Recipe.model_fields, n=1, cutoff=0.5)
    return f"Did you mean '{near[0]}'?" if near else f"Keys: {', '.join(Recipe.model_fields)}."


def _describe_key(key: str) -> str:
    """A hint for an error message: what a key of the recipe is for."""
    return f"{key}: {Recipe.model_fields[key].description}."
