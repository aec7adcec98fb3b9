"""A trained model as a folder for other programs: an adapter in PEFT's layout, or a whole model.

A merged model is compared with the unmerged adapter before it is handed out: both read the same
probes, and the merged one is loaded by plain transformers from the folder that was written.
"""

from __future__ import annotations

import json
import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from moli.models.weights.json_files import read_json
from moli.models.weights.loading import folder_of, load_config
from moli.records.errors import InputError, ModelError, WorkspaceError
from moli.training.methods import method_of
from moli.training.recipes.recipe import Recipe
from moli.training.tasks import make_task
from moli.training.tasks.base.wrapped_models import evaluation_mode, unwrapped_model
from moli.training.trained.load import check_contract, recipe_of
from moli.workspace.content import MANIFEST, StoredModel, files_of

_CONFIG = "adapter_config.json"
# Of the largest output: two orders of summation in float32 differ by far less.
TOLERANCE = 1e-4
_LENGTHS = (3, 9, 17, 30)  # of the probes, in tokens


@dataclass(frozen=True, slots=True)
class Parity:
    """How close a merged model is to the unmerged adapter.

    Attributes:
        exact: largest difference of an output after merging, both in float32.
        written: the same for the model as it was written and read again, in its own precision.
        largest: of all outputs, by size.
        agreement: share of the positions at which both have the same largest output.
        precision: that the merged model was written in.
    """

    exact: float
    written: float
    largest: float
    agreement: float
    precision: str


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written, and how close a merged model is; None if nothing was merged."""

    folder: Path
    files: tuple[str, ...]
    parity: Parity | None


def export(stored: StoredModel, folder: Path, *, merge: bool = False) -> Exported:
    """Write a stored model to a new folder, either completely or not at all.

    Args:
        merge: whether to merge an adapter into its base. A whole model is copied either way.

    Raises:
        InputError: the folder is not empty, or the adapter cannot be merged.
        ModelError: the base has changed, or the merged model's outputs differ.
        WorkspaceError: the files cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError("it already exists", where=str(folder), fix="Name a new or empty folder.")
    recipe = recipe_of(stored)
    method = method_of(recipe)
    merging = merge and method.is_adapter
    if merging and (why := method.merge_obstacle):
        raise InputError(
            f"method '{recipe.method}' cannot be merged: {why}",
            where=stored.name,
            fix="Export it without --merge.",
        )
    draft = folder.parent / f".{folder.name}-{uuid.uuid4().hex[:8]}"
    try:
        draft.mkdir(parents=True)
        parity = _merge(stored, recipe, draft) if merging else None
        if not merging:
            _copy(stored, recipe, draft)
        if folder.exists():
            folder.rmdir()
        draft.rename(folder)
    except OSError as error:
        raise WorkspaceError(
            f"it cannot be written ({error.strerror or error})",
            where=str(folder),
            fix="Check the disk space and the folder's permissions.",
        ) from error
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return Exported(folder, tuple(files_of(folder)), parity)


def _copy(stored: StoredModel, recipe: Recipe, draft: Path) -> None:
    """The model's files; an adapter names its base so that other programs find it."""
    for name, path in {**files_of(stored.folder), MANIFEST: stored.folder / MANIFEST}.items():
        (draft / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, draft / name)
    config = read_json(draft / _CONFIG)
    if config is not None:
        config["base_model_name_or_path"] = folder_of(recipe.base)
        (draft / _CONFIG).write_text(json.dumps(config, indent=2, sort_keys=True), encoding="utf-8")


def _over_whole_base(recipe: Recipe) -> Recipe:
    """The recipe with its base as it is, also where it was trained over one in 4 bits."""
    quantized = method_of(recipe).quantizes_base
    return recipe.model_copy(update={"method": "lora"}) if quantized else recipe


def _merge(stored: StoredModel, recipe: Recipe, draft: Path) -> Parity:
    """Merge in float32, write in the base's precision, and compare what is read again."""
    check_contract(stored, recipe)
    task = make_task(_over_whole_base(recipe))
    task.load_state(stored.folder)
    if task.export_caveat:
        raise InputError(
            f"once merged, it would give different answers in other programs: {task.export_caveat}",
            where=stored.name,
            fix="Use it through Moli, export it without --merge, or train on a base that is "
            "not a sentence encoder.",
        )
    adapted: Any = task.restore(stored.folder, torch.float32)
    probes = _probes(unwrapped_model(adapted))
    expected = _outputs(adapted, probes)
    merged = adapted.merge_and_unload()
    exact = float((_outputs(merged, probes) - expected).abs().max())
    largest = float(expected.abs().max())
    precision = _precision(recipe.base)
    kind = type(merged)
    merged.to(precision).save_pretrained(draft)
    task.save(merged, draft)
    del adapted, merged
    # Embeddings are written in float32, whatever the base has.
    read = kind.from_pretrained(draft, dtype="auto", attn_implementation="sdpa")
    found = _outputs(read, probes)
    parity = Parity(
        exact=exact,
        written=float((found - expected).abs().max()),
        largest=largest,
        agreement=float((found.argmax(-1) == expected.argmax(-1)).float().mean()),
        precision=str(read.dtype).removeprefix("torch."),
    )
    off = parity.written if read.dtype == torch.float32 == precision else parity.exact
    if not max(off, exact) <= TOLERANCE * largest:  # nor if it is no number
        raise ModelError(
            f"the merged model's outputs differ from the unmerged adapter's: one is off by "
            f"{max(off, exact):.2g}",
            where=stored.name,
            fix="Export it without --merge.",
        )
    return parity


def _precision(base: str) -> torch.dtype:
    """What the base's weights are kept in."""
    kept = load_config(base).dtype
    return kept if isinstance(kept, torch.dtype) else torch.float32


def _probes(model: Any) -> dict[str, torch.Tensor]:
    """Rows of random tokens of several lengths, padded; random pixels where a model sees images."""
    draw = np.random.default_rng(0)
    config = model.config
    if model.main_input_name == "pixel_values":
        size = getattr(config, "image_size", 32) or 32
        sides = (size, size) if isinstance(size, int) else tuple(size)
        shape = (len(_LENGTHS), getattr(config, "num_channels", 3), *sides)
        return {"pixel_values": torch.from_numpy(draw.standard_normal(shape, np.float32))}
    ids = draw.integers(0, config.vocab_size, (len(_LENGTHS), max(_LENGTHS)))
    mask = np.arange(max(_LENGTHS))[None] < np.array(_LENGTHS)[:, None]
    pad = config.pad_token_id or 0
    ids[mask & (ids == pad)] = (pad + 1) % config.vocab_size
    rows = torch.from_numpy(np.where(mask, ids, pad))
    probes = {"input_ids": rows, "attention_mask": torch.from_numpy(mask.astype(np.int64))}
    if config.is_encoder_decoder:
        probes["decoder_input_ids"] = rows[:, : min(_LENGTHS) + 2]
    return probes


def _outputs(model: Any, probes: dict[str, torch.Tensor]) -> torch.Tensor:
    """What a model makes of the probes, without the places that are padding: [places, outputs]."""
    inner = unwrapped_model(model)
    inputs = {
        name: each.to(inner.device, inner.dtype if each.is_floating_point() else each.dtype)
        for name, each in probes.items()
    }
    with evaluation_mode(model):
        output = inner(**inputs)
    if "start_logits" in output:
        made = torch.stack([output.start_logits, output.end_logits], -1)
    else:
        made = output.logits if "logits" in output else output.last_hidden_state
    made = made.float().cpu()
    mask = probes.get("attention_mask")
    if made.dim() == 3 and mask is not None and mask.shape == made.shape[:2]:
        return made[mask.bool()]
    return made.flatten(0, -2)
