"""A run from its recipe to its files and back, for tests of tasks."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from moli.records.examples import Example
from moli.training import inference, methods
from moli.training.recipes.recipe import Recipe, make_recipe
from moli.training.setup.prepared import PreparedRun, prepare
from moli.training.tasks import make_task
from moli.training.tasks.base.task import Task


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(each) + "\n" for each in rows), encoding="utf-8")
    return path


def recipe_of(**values: Any) -> Recipe:
    """A recipe in float32, so that results can be compared closely."""
    return make_recipe({"precision": "fp32", "held_out": 0.2, **values})


def run_to_end(recipe: Recipe, folder: Path) -> tuple[PreparedRun, list[float]]:
    """A run that has come to its end, and the loss of each step."""
    losses: list[float] = []
    folder.mkdir()
    prepared = prepare(
        recipe, folder, lambda event: losses.append(event.loss) if hasattr(event, "loss") else None
    )
    assert prepared.loop.run() == "finished"
    return prepared, losses


def save_and_restore(prepared: PreparedRun, folder: Path) -> tuple[Task, torch.nn.Module]:
    """A new task, and the model that it restores from the files that a run writes."""
    folder.mkdir()
    recipe = prepared.resolved.recipe
    methods.save_weights(prepared.model, recipe, folder)
    prepared.task.save_state(prepared.model, folder)
    task = make_task(recipe)
    return task, task.restore(folder, torch.float32)


def predicted_rows(
    task: Task, model: torch.nn.Module, examples: Sequence[Example]
) -> list[dict[str, Any]]:
    """The answers for examples as rows."""
    result = inference.run_inference(task, model, task.samples(examples, training=False))
    return [task.to_row(each) for each in inference.answers_of_examples(task, result, examples)[0]]


def held_out_examples(prepared: PreparedRun) -> list[Example]:
    return [each.example for each in prepared.data.examples.held_out]
