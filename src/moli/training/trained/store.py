"""A model that was just trained, stored in the workspace with its manifest."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

import torch

from moli.records.errors import WorkspaceError
from moli.records.models import Manifest
from moli.training import methods
from moli.training.recipes.recipe import Recipe
from moli.training.tasks.base.task import Task
from moli.training.trained.comparison import HeldOutResult
from moli.workspace import Workspace
from moli.workspace.content import StoredModel


def store_model(
    model: torch.nn.Module,
    task: Task,
    recipe: Recipe,
    workspace: Workspace,
    *,
    draft: Path,
    dataset_hash: str,
    result: HeldOutResult,
) -> StoredModel:
    """Store a trained model; no alias points at it yet.

    Args:
        recipe: the resolved recipe.
        draft: a folder for the files until they are stored; it is removed again.
        result: the evaluations that the manifest records.

    Raises:
        WorkspaceError: the files cannot be written.
    """
    manifest = make_manifest(task, recipe, dataset_hash, result)

    def write(folder: Path) -> None:
        methods.save_weights(model, recipe, folder)
        task.save_state(model, folder)

    return store_files(write, manifest, workspace, draft)


def make_manifest(task: Task, recipe: Recipe, dataset_hash: str, result: HeldOutResult) -> Manifest:
    """The manifest of a model that was trained on a task's base by a resolved recipe."""
    hashes = task.base_hashes()
    return Manifest(
        task=recipe.task,
        method=str(recipe.method),
        base=recipe.base,
        base_hash=hashes.base,
        tokenizer_hash=hashes.tokenizer,
        template_hash=hashes.template,
        stop_tokens=hashes.stop_tokens,
        dataset_hash=dataset_hash,
        parent="",
        recipe=recipe.model_dump(mode="json"),
        metrics=result.metrics,
        created_at=time.time(),
        base_metrics=result.base_metrics,
        held_out_hash=result.examples_hash,
    )


def store_files(
    write: Callable[[Path], None], manifest: Manifest, workspace: Workspace, draft: Path
) -> StoredModel:
    """Store the files that a function writes to a folder, with a manifest.

    Args:
        draft: a folder in that of the run, for the files until they are stored.

    Raises:
        WorkspaceError: the files cannot be written.
    """
    from safetensors import SafetensorError

    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir()
        write(draft)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(draft, ignore_errors=True)
        command = "align" if manifest.lineage else "tune"
        raise WorkspaceError(
            f"the model cannot be written ({str(error).splitlines()[0]})",
            where=str(draft.parent),
            fix=f"Free some space, then: moli {command} --resume {draft.parent.name}",
        ) from error
    stored = workspace.models.add(draft, manifest)
    shutil.rmtree(draft)
    return stored
