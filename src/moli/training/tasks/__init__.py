"""Tasks: one file for each."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

from moli.training.recipes.task_table import TASKS

if TYPE_CHECKING:
    from moli.training.recipes.recipe import Recipe
    from moli.training.tasks.base.task import Task


def make_task(recipe: Recipe) -> Task:
    """The task that a recipe names."""
    module, class_name = TASKS[recipe.task].implementation.split(":")
    task: Task = getattr(import_module(f"moli.training.tasks.{module}"), class_name)(recipe)
    return task
