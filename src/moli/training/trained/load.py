"""A trained model loaded to answer: its base and adapter, or a whole model, as it was evaluated.

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
from moli.training.recipes.method_table import find_method
from moli.training.recipes.recipe import Recipe, make_recipe
from moli.training.recipes.task_table import NGRAMS
from moli.training.reference import reference_values, set_references
from moli.training.tasks import make_task
from moli.training.tasks.base.task import Task
from moli.workspace.content import StoredModel, read_manifest
from moli.workspace.paths import is_gone

# With fewer samples it is not worth while to check that they may be packed.
_MIN_SAMPLES = 16


@dataclass(slots=True)
class TrainedModel:
    """A trained model and its task.

    Attributes:
        name: the name it was requested by in the workspace.
        packed: whether samples may be packed; None before that was checked.
        base: reference of the model that its training began from.
    """

    task: Task
    model: torch.nn.Module
    name: str = ""
    packed: bool | None = None
    base: str = ""

    def set_references(self, samples: Sequence[Sample]) -> None:
        """Keep the reference's values with samples, if the task's losses and metrics need any.

        Raises:
            ModelError: a whole model was trained, and its base cannot be loaded.
        """
        if not self.task.needs_reference:
            return
        reference = self.model
        if not methods.method_of(self.task.recipe).is_adapter:
            recipe = self.task.recipe.model_copy(update={"base": self.base})
            dtype = next(self.model.parameters()).dtype
            reference = methods.prepare_for_device(make_task(recipe).build(dtype))
        packed = self.should_pack(samples)
        values = reference_values(self.task, reference, samples, packed=packed)
        set_references(self.task, samples, values)

    def should_pack(self, samples: Sequence[Sample]) -> bool:
        """Whether to pack samples, which is so if a check with the first ones finds no change.

        If there are only a few samples, the check would take too long, and they are padded.
        """
        if can_pack(self.task) and self.packed is None and len(samples) >= _MIN_SAMPLES:
            self.packed = check_packing(self.task, self.model, samples).holds
        return bool(self.packed)


def load_trained(stored: StoredModel, *, precision: str | None = None) -> TrainedModel:
    """Load a stored model to answer examples.

    Args:
        precision: "bf16" or "fp32"; by default the precision of its training, if this machine is
            fast in that precision.

    Raises:
        ModelError: its base, its tokenizer or its own folder has changed since it was stored.
    """
    recipe = recipe_of(stored)
    check_compatibility(stored, recipe)
    task = make_task(recipe)
    if not precision:
        precision = "bf16" if recipe.precision == "bf16" == probe().precision else "fp32"
    with transformers_lock:
        model = task.restore(stored.folder, DTYPES[precision])
    model = methods.prepare_for_device(model).requires_grad_(False)
    return TrainedModel(task, model.eval(), stored.name, base=stored.manifest.base)


def recipe_of(stored: StoredModel) -> Recipe:
    """The recipe of a stored model; a whole model is its own base, unless it weighs n-grams."""
    recipe = make_recipe(stored.manifest.recipe, where=stored.name)
    if not find_method(stored.manifest.method).is_adapter and recipe.base != NGRAMS:
        return recipe.model_copy(update={"base": str(stored.folder)})
    return recipe


def check_compatibility(stored: StoredModel, recipe: Recipe, *, weights: bool = True) -> None:
    """Check that a model has the base, tokenizer and chat template that it was trained with.

    All files in its own folder but the weights are hashed; `moli models verify` hashes these too.

    Args:
        weights: whether the base's weights are on this machine, not on a server that has them.

    Raises:
        ModelError: the base, its tokenizer or a file of the model has changed since, or is gone.
    """
    manifest = stored.manifest
    if changed := _changed_files(stored.folder):
        raise ModelError(
            f"it has been changed since it was stored ({', '.join(changed)})",
            where=stored.name,
            fix=f"Remove it and train it again; see 'moli models verify {stored.name}'.",
        )
    has_tokenizer = bool(manifest.tokenizer_hash)
    own_tokenizer = load_tokenizer(str(stored.folder)) if has_tokenizer else None
    if has_tokenizer and hash_template(own_tokenizer) != manifest.template_hash:
        raise ModelError(
            "its chat template is not the one it was trained with",
            where=stored.name,
            fix="Retrain it: its prompts would no longer match what it was trained on.",
        )
    if not find_method(manifest.method).is_adapter:
        return
    base_hash = manifest.base_hash
    if weights:
        base_hash = "" if is_gone(recipe.base) else hash_weights(folder_of(recipe.base))
    if manifest.base_hash and not base_hash:
        raise ModelError(
            f"its base {recipe.base} is not on this machine",
            where=stored.name,
            fix=f"Put it back ({_format_hashes(stored)}), or name the folder that has it now: "
            f"moli models rebase {stored.name} FOLDER",
        )
    differing = ["weights"] if base_hash != manifest.base_hash else []
    if has_tokenizer and hash_tokenizer(load_tokenizer(recipe.base)) != manifest.tokenizer_hash:
        differing.append("tokenizer")
    if differing:
        raise ModelError(
            f"it was trained on a different {recipe.base}: "
            f"the {' and the '.join(differing)} differ",
            where=stored.name,
            fix=f"Put that one back ({_format_hashes(stored)}), or retrain on the current one.",
        )


def _format_hashes(stored: StoredModel) -> str:
    """The first digits of the hashes of the base that a model was trained on."""
    manifest = stored.manifest
    base, tokenizer = manifest.base_hash[:12] or "-", manifest.tokenizer_hash[:12] or "-"
    return f"weights {base}, tokenizer {tokenizer}"


def _changed_files(folder: Path) -> list[str]:
    """Names of the files, other than weights, that have changed since the model was stored."""
    changed = []
    for name, digest in read_manifest(folder)[1].items():
        path = folder / name
        if path.suffix == ".safetensors" and path.is_file():
            continue
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != digest:
            changed.append(name)
    return changed
