"""A trained model put to work: its base and adapter, or a whole model, as it was when evaluated.

trained = load_trained(workspace.models.get("support"))
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import torch

from moli.models.hardware.probe import DTYPES, probe
from moli.models.tokenizers import load_tokenizer
from moli.models.weights.hashes import hash_template, hash_tokenizer, hash_weights
from moli.models.weights.loading import folder_of, transformers_lock
from moli.records.errors import ModelError
from moli.training import methods
from moli.training.batching.samples import Sample
from moli.training.packing import can_pack, check_packing
from moli.training.recipes.method_table import METHODS
from moli.training.recipes.recipe import Recipe, make_recipe
from moli.training.tasks import make_task
from moli.training.tasks.base.task import Task
from moli.workspace.content import StoredModel, read_manifest

# Samples below which it is not worth while to prove that they may be packed.
_FEW = 16


@dataclass(slots=True)
class Trained:
    """A model that answers, and its task.

    Attributes:
        name: the name it was requested by in the workspace.
        packed: whether samples may be packed; None before that has been tried.
    """

    task: Task
    model: torch.nn.Module
    name: str = ""
    packed: bool | None = None

    def pack(self, samples: Sequence[Sample]) -> bool:
        """Whether to pack samples: verified once, on these, to change nothing.

        A few samples are not worth the check, and are padded.
        """
        able = can_pack(self.task)
        if able and self.packed is None and len(samples) >= _FEW:
            self.packed = check_packing(self.task, self.model, samples).holds
        return bool(self.packed)


def load_trained(stored: StoredModel, *, precision: str | None = None) -> Trained:
    """A stored model, ready to answer.

    Args:
        precision: "bf16" or "fp32"; by default what it was trained in, if this machine is good at
            that.

    Raises:
        ModelError: its base or its own folder has changed; see `check_contract`.
    """
    recipe = recipe_of(stored)
    check_contract(stored, recipe)
    task = make_task(recipe)
    if not precision:
        precision = "bf16" if recipe.precision == "bf16" == probe().precision else "fp32"
    with transformers_lock:
        model = task.restore(stored.folder, DTYPES[precision])
    model = methods.prepare_for_device(model).requires_grad_(False)
    return Trained(task, model.eval(), stored.name)


def recipe_of(stored: StoredModel) -> Recipe:
    """The recipe of a stored model; a whole model is its own base."""
    recipe = make_recipe(stored.manifest.recipe, where=stored.name)
    if not METHODS[stored.manifest.method].is_adapter:
        return recipe.model_copy(update={"base": str(stored.folder)})
    return recipe


def check_contract(stored: StoredModel, recipe: Recipe, *, weights: bool = True) -> None:
    """Check that a model has the base, tokenizer and chat template that it was trained with.

    Of its own folder all but the weights are hashed; `moli models verify` hashes these as well.

    Args:
        weights: whether the base's are on this machine, and not on a server that has them.

    Raises:
        ModelError: the base, its tokenizer or a file of the model has changed since, or is gone.
    """
    made = stored.manifest
    if changed := _changed(stored.folder):
        raise ModelError(
            f"it has been changed since it was stored ({', '.join(changed)})",
            where=stored.name,
            fix=f"Remove it and train it again; see 'moli models verify {stored.name}'.",
        )
    has_tokenizer = bool(made.tokenizer_hash)
    if has_tokenizer and hash_template(load_tokenizer(str(stored.folder))) != made.template_hash:
        raise ModelError(
            "its chat template is not the one it was trained with",
            where=stored.name,
            fix="Retrain it: its prompts would no longer match what it was trained on.",
        )
    if not METHODS[made.method].is_adapter:
        return
    found = hash_weights(folder_of(recipe.base)) if weights else made.base_hash
    if made.base_hash and not found:
        raise ModelError(
            f"its base {recipe.base} is not on this machine",
            where=stored.name,
            fix=f"Put it back: {_known(stored)}.",
        )
    differing = ["weights"] if found != made.base_hash else []
    if made.tokenizer_hash and hash_tokenizer(load_tokenizer(recipe.base)) != made.tokenizer_hash:
        differing.append("tokenizer")
    if differing:
        raise ModelError(
            f"it was trained on a different {recipe.base}: "
            f"the {' and the '.join(differing)} differ",
            where=stored.name,
            fix=f"Put that one back ({_known(stored)}), or retrain on the current one.",
        )


def _known(stored: StoredModel) -> str:
    made = stored.manifest
    return f"weights {made.base_hash[:12] or '-'}, tokenizer {made.tokenizer_hash[:12] or '-'}"


def _changed(folder: Path) -> list[str]:
    """Files of a model, but for weights, that are not what they were when it was stored."""
    changed = []
    for name, digest in read_manifest(folder)[1].items():
        path = folder / name
        if path.suffix == ".safetensors" and path.is_file():
            continue
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            changed.append(name)
    return changed
