"""One file for each task."""

from __future__ import annotations

from importlib import import_module

from moli.training.recipe import Recipe
from moli.training.tasks.task import Task

_TASKS = {
    "classification": ("classification", "Classification"),
    "instruction": ("instruction", "Instruction"),
    "pretraining": ("pretraining", "Pretraining"),
    "seq2seq": ("seq2seq", "Seq2Seq"),
    "span": ("span", "SpanAnswering"),
    "embedding": ("embedding", "Embedding"),
    "reranking": ("reranking", "Reranking"),
    "image": ("image", "ImageClassification"),
}


def make_task(recipe: Recipe) -> Task:
    """The task that a recipe names."""
    module, name = _TASKS[recipe.task]
    made: Task = getattr(import_module(f"moli.training.tasks.{module}"), name)(recipe)
    return made
