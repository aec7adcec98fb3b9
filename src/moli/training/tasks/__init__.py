"""Tasks: one file for each."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from moli.records.errors import InputError
from moli.training.recipes.task_table import NGRAMS, TASKS

if TYPE_CHECKING:
    from moli.training.recipes.recipe import Recipe
    from moli.training.tasks.base.task import Task


def make_task(recipe: Recipe) -> Task:
    """The task that a recipe names.

    Raises:
        InputError: the base is `builtin:ngrams`, which the task cannot use.
    """
    spec = TASKS[recipe.task]
    implementation = spec.ngrams if recipe.base == NGRAMS else spec.implementation
    if not implementation:
        raise InputError(
            f"{NGRAMS} cannot learn the task {recipe.task}",
            where="base",
            fix="Leave base out, or name a model.",
        )
    module, class_name = implementation.split(":")
    task: Task = getattr(import_module(f"moli.training.tasks.{module}"), class_name)(recipe)
    return task
