"""A recipe: everything a person may set for a training run. What is left out is derived."""

from __future__ import annotations

import re
from collections.abc import Container, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
)

from moli.records.errors import InputError
from moli.records.messages import Role
from moli.training.recipes.field_errors import check_known_keys, explain_value_error
from moli.training.recipes.method_table import MethodName
from moli.training.recipes.task_options import check_options
from moli.training.recipes.task_table import GENERATIVE_TASKS, TASKS, TaskName
from moli.workspace.aliases import check_alias
from moli.workspace.datasets.fields import in_yaml, kind_of
from moli.workspace.paths import placed_values

Paths = Path | tuple[Path, ...]

# What maps names to values, each with a line to copy.
_MAPPINGS: Mapping[str, Mapping[str, Any]] = {
    "columns": {"text": "body", "label": "topic"},
    "roles": {"user": "客户", "assistant": "客服"},
    "shape": {"hidden": 256, "layers": 4, "heads": 4},
    "options": {"beta": 0.1},
}
_PERCENTAGE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?%")


def _join_columns(columns: Any) -> Any:
    """The mapping with a list of columns, one for each label, as one text."""
    return {
        ours: ", ".join(map(str, theirs)) if isinstance(theirs, list) else theirs
        for ours, theirs in columns.items()
    }


def _list_names(roles: Any) -> Any:
    """The mapping with a list of names for each role, of which a recipe may give one alone."""
    return {
        role: names if isinstance(names, list | tuple) else [names] for role, names in roles.items()
    }


Columns = Annotated[dict[str, str], BeforeValidator(_join_columns)]
RoleNames = Annotated[dict[Role, tuple[str, ...]], BeforeValidator(_list_names)]


class Recipe(BaseModel):
    """A recipe for a training run. A value of None or "" is derived when the run begins."""

    model_config = ConfigDict(frozen=True, extra="forbid", coerce_numbers_to_str=True)

    task: TaskName = Field(description="What the model learns to do")
    base: str = Field(description="Model to start from; `new`: a new one of the given shape")
    data: Paths = Field(description="Training examples: a file, a folder, a pattern, or a list")
    held_out: Paths | int | float = Field(
        0.05,
        description="Examples to evaluate on: files as for `data`, a share of `data` below 1, or a "
        "number of its rows",
    )
    columns: Columns = Field({}, description="Maps Moli's column names to yours")
    roles: RoleNames = Field({}, description="Maps Moli's roles of turns to your names for them")
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
    options: dict[str, Any] = Field({}, description="Options of the task itself, by name")
    template: Path | None = Field(None, description="Chat template (Jinja) in place of the base's")
    special_tokens: tuple[str, ...] = Field(
        (), description="Special tokens that texts of users and tools may use; others are letters"
    )
    trackers: tuple[Literal["tensorboard", "mlflow", "wandb"], ...] = Field(
        (), description="Other places to report to"
    )
    name: str = Field("", description="Alias of the result in the workspace")

    @field_validator("held_out", mode="before")
    @classmethod
    def _check_amount(cls, held_out: Any) -> Any:
        """The value, unless it is a number that is neither a share nor a number of rows."""
        is_number = isinstance(held_out, int | float) and held_out is not True
        is_share = is_number and 0 <= held_out < 1
        if is_share or (is_number and isinstance(held_out, int) and held_out > 0):
            return float(held_out) if is_share else held_out
        if isinstance(held_out, str | Path | list | tuple):
            return held_out
        raise ValueError("must be a share from 0 to below 1, a whole number of rows, or files")

    @property
    def held_out_paths(self) -> Paths | None:
        """The files with the held-out examples; None if they are a part of the data."""
        return self.held_out if isinstance(self.held_out, Path | tuple) else None

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
    values = _normalized(read_recipe_values(path), path.parent)
    changed = with_changes(values, _normalized(changes or {}, Path.cwd()), _MAPPINGS)
    return make_recipe(changed, where=changed_name(path, changes))


def changed_name(path: Path, changes: Mapping[str, Any] | None) -> str:
    """The name of a recipe's file for errors, with the values that were changed."""
    changed = ", ".join(f"{key}={value}" for key, value in (changes or {}).items())
    return f"{path} ({changed})" if changed else str(path)


def read_recipe_values(path: Path) -> dict[str, Any]:
    """The keys and values of a recipe's YAML file, as they stand there.

    Raises:
        InputError: the file cannot be read, or has no keys.
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
    return values


def make_recipe(values: Mapping[str, Any], *, where: str = "recipe") -> Recipe:
    """Make a recipe from its values; relative paths start from the current folder.

    Args:
        where: the file or option that errors name.

    Raises:
        InputError: a key is unknown (the nearest known one is named) or a value cannot be used.
    """
    spec = TASKS.get(str(values.get("task")))
    present = {key: value for key, value in values.items() if value is not None}
    values = {"base": spec.base if spec else "", **with_changes({}, present, _MAPPINGS)}
    values = _normalized(values, Path())
    check_known_keys(values, Recipe, where, spec.options.model_fields if spec else ())
    check_mappings(values, where)
    try:
        recipe = Recipe(**values)
    except ValidationError as error:
        raise explain_value_error(error, values, Recipe, where) from error
    if recipe.name:
        check_alias(recipe.name)
    check_options(TASKS[recipe.task].options, recipe.options, where)
    return recipe


def with_changes(
    values: Mapping[str, Any], changes: Mapping[str, Any], mappings: Container[str] | None = None
) -> dict[str, Any]:
    """A recipe's values with some changed; a key such as `options.beta` changes one value.

    Args:
        mappings: the keys whose values map names to values; None for all of them.
    """
    changed = dict(values)
    for key, value in changes.items():
        outer, dot, inner = str(key).partition(".")
        before = changed.get(outer, {})
        if dot and (mappings is None or outer in mappings) and isinstance(before, Mapping):
            changed[outer] = with_changes(before, {inner: value})
        else:
            changed[str(key)] = value
    return changed


def check_mappings(values: Mapping[str, Any], where: str) -> None:
    """Check that values which map names are mappings, and that Moli's roles come first.

    Raises:
        InputError: one is something else; the error has a line to copy.
    """
    roles = get_args(Role)
    for key, example in _MAPPINGS.items():
        value = values.get(key, {})
        if not isinstance(value, Mapping):
            is_list = isinstance(value, list) and all(isinstance(each, str) for each in value)
            is_answer = values.get("task") in GENERATIVE_TASKS
            names = ("source", "target") if is_answer else ("text", "label")
            guess = dict(zip(names, value, strict=False)) if is_list and key == "columns" else {}
            raise InputError(
                f"'{key}' is {kind_of(value)}, not a mapping",
                where=where,
                fix=f"Write it as `{key}: {in_yaml(guess or example)}`.",
            )
        if key == "roles" and (unknown := [name for name in value if name not in roles]):
            ours = {role: name for name, role in value.items() if role in roles}
            line = f"Write the role first: `roles: {in_yaml(ours)}`." if ours else ""
            raise InputError(
                f"'roles' has '{unknown[0]}', which is no role",
                where=where,
                fix=line or f"There are: {', '.join(roles)}.",
            )


def _normalized(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """Values with percentages as numbers, and with relative paths starting from a folder."""
    return placed_values({key: _as_number(value) for key, value in values.items()}, folder)


def _as_number(value: Any) -> Any:
    """The share that a percentage is, such as 0.2 for "20%"; any other value itself."""
    percentage = _PERCENTAGE.fullmatch(value) if isinstance(value, str) else None
    return float(percentage[1]) / 100 if percentage else value
