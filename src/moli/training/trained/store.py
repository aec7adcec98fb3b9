"""A model that was just trained, stored in the workspace with its manifest."""

from __future__ import annotations

import shutil
import time
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
    from safetensors import SafetensorError

    shutil.rmtree(draft, ignore_errors=True)
    try:
        draft.mkdir()
        methods.save_weights(model, recipe, draft)
        task.save_state(model, draft)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(draft, ignore_errors=True)
        raise WorkspaceError(
            f"the model cannot be written ({str(error).splitlines()[0]})",
            where=str(draft.parent),
            fix=f"Free some space, then: moli tune --resume {draft.parent.name}",
        ) from error
    hashes = task.base_hashes()
    manifest = Manifest(
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
    stored = workspace.models.add(draft, manifest)
    shutil.rmtree(draft)
    return stored
