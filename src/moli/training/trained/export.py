"""A trained model as a folder for other programs: an adapter in PEFT's layout, or a whole model.

A merged model is compared with the unmerged adapter before it is handed out: both read the same
probes, and the merged one is loaded by plain transformers from the folder that was written.
"""

from __future__ import annotations

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
from moli.training.recipes.task_table import NGRAMS
from moli.training.tasks import make_task
from moli.training.tasks.base.wrapped_models import evaluation_mode, unwrapped_model
from moli.training.trained.load import check_compatibility, recipe_of
from moli.workspace.content import (
    ADAPTER_CONFIG,
    MANIFEST,
    StoredModel,
    files_of,
    write_adapter_config,
)

# Largest difference of outputs, as a share of the largest output: two orders of summation in
# float32 differ by far less.
_TOLERANCE = 1e-4
_PROBE_LENGTHS = (3, 9, 17, 30)  # tokens


@dataclass(frozen=True, slots=True)
class Parity:
    """Differences between a merged model's outputs and those of the unmerged adapter.

    Attributes:
        exact: largest difference of an output after merging, both in float32.
        written: largest difference after the merged model was written, in its own precision, and
            read again.
        largest: largest output by absolute value.
        agreement: share of the positions at which both have the same largest output.
        precision: precision that the merged model was written in.
    """

    exact: float
    written: float
    largest: float
    agreement: float
    precision: str


@dataclass(frozen=True, slots=True)
class ExportResult:
    """The folder and the files that were written.

    Attributes:
        parity: comparison of a merged model with the adapter; None if nothing was merged.
    """

    folder: Path
    files: tuple[str, ...]
    parity: Parity | None


def export(
    stored: StoredModel, folder: Path, *, merge: bool = False, fp32: bool = False
) -> ExportResult:
    """Write a stored model to a new folder, either completely or not at all.

    Args:
        merge: whether to merge an adapter into its base. A whole model is copied either way.
        fp32: whether to merge it and write it in 32 bits, so that nothing is rounded; by default it
            is written in the base's precision.

    Raises:
        InputError: the folder is not empty, or the adapter cannot be merged.
        ModelError: the base has changed, or the merged model's outputs differ.
        WorkspaceError: the files cannot be written.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError("it already exists", where=str(folder), fix="Name a new or empty folder.")
    recipe = recipe_of(stored)
    if recipe.base == NGRAMS:
        raise InputError(
            "it weighs a text's n-grams, which no other program has a class for",
            where=stored.name,
            fix="Use it through Moli: 'moli predict', or POST /v1/classify.",
        )
    method = method_of(recipe)
    merging = (merge or fp32) and method.is_adapter
    if merging and (obstacle := method.merge_obstacle):
        raise InputError(
            f"method '{recipe.method}' cannot be merged: {obstacle}",
            where=stored.name,
            fix="Export it without --merge.",
        )
    folder = folder.absolute()
    draft = folder.parent / f".{folder.name}-{uuid.uuid4().hex[:8]}"
    try:
        draft.mkdir(parents=True)
        parity = _merge(stored, recipe, draft, fp32=fp32) if merging else None
        if not merging:
            _copy_files(stored, recipe, draft)
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
    return ExportResult(folder, tuple(files_of(folder)), parity)


def _copy_files(stored: StoredModel, recipe: Recipe, draft: Path) -> None:
    """Copy the model's files; an adapter names its base so that other programs find it."""
    for name, path in {**files_of(stored.folder), MANIFEST: stored.folder / MANIFEST}.items():
        (draft / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, draft / name)
    config = read_json(draft / ADAPTER_CONFIG)
    if config is not None:
        config["base_model_name_or_path"] = folder_of(recipe.base)
        write_adapter_config(draft / ADAPTER_CONFIG, config)


def _with_unquantized_base(recipe: Recipe) -> Recipe:
    """The recipe with its base in full precision, also if it was trained over 4 bits."""
    quantized = method_of(recipe).quantizes_base
    return recipe.model_copy(update={"method": "lora"}) if quantized else recipe


def _merge(stored: StoredModel, recipe: Recipe, draft: Path, *, fp32: bool) -> Parity:
    """Merge in float32, write in that or the base's precision, and compare what is read again."""
    check_compatibility(stored, recipe)
    task = make_task(_with_unquantized_base(recipe))
    task.load_state(stored.folder)
    if task.export_caveat:
        raise InputError(
            f"once merged, it would give different answers in other programs: {task.export_caveat}",
            where=stored.name,
            fix="Use it through Moli, export it without --merge, or train on a base that is "
            "not a sentence encoder.",
        )
    adapted: Any = task.restore(stored.folder, torch.float32)
    probes = _make_probes(unwrapped_model(adapted))
    expected = _outputs(adapted, probes)
    merged = adapted.merge_and_unload()
    exact = float((_outputs(merged, probes) - expected).abs().max())
    largest = float(expected.abs().max())
    precision = torch.float32 if fp32 else weights_dtype(recipe.base)
    model_class = type(merged)
    merged.to(precision).save_pretrained(draft)
    task.save_state(merged, draft)
    del adapted, merged
    # Embeddings are written in float32, whatever the base has.
    read = model_class.from_pretrained(draft, dtype="auto", attn_implementation="sdpa")
    outputs = _outputs(read, probes)
    parity = Parity(
        exact=exact,
        written=float((outputs - expected).abs().max()),
        largest=largest,
        agreement=float((outputs.argmax(-1) == expected.argmax(-1)).float().mean()),
        precision=str(read.dtype).removeprefix("torch."),
    )
    off = parity.written if read.dtype == torch.float32 == precision else parity.exact
    if not max(off, exact) <= _TOLERANCE * largest:  # nor if it is no number
        raise ModelError(
            f"the merged model's outputs differ from the unmerged adapter's: one is off by "
            f"{max(off, exact):.2g}",
            where=stored.name,
            fix="Export it without --merge.",
        )
    return parity


def weights_dtype(base: str) -> torch.dtype:
    """The precision of the base's files; float32 if its configuration has none."""
    dtype = load_config(base).dtype
    return dtype if isinstance(dtype, torch.dtype) else torch.float32


def _make_probes(model: Any) -> dict[str, torch.Tensor]:
    """Rows of random tokens of several lengths, padded; random pixels for a model of images."""
    draw = np.random.default_rng(0)
    config = model.config
    if model.main_input_name == "pixel_values":
        size = getattr(config, "image_size", 32) or 32
        sides = (size, size) if isinstance(size, int) else tuple(size)
        shape = (len(_PROBE_LENGTHS), getattr(config, "num_channels", 3), *sides)
        return {"pixel_values": torch.from_numpy(draw.standard_normal(shape, np.float32))}
    ids = draw.integers(0, config.vocab_size, (len(_PROBE_LENGTHS), max(_PROBE_LENGTHS)))
    mask = np.arange(max(_PROBE_LENGTHS))[None] < np.array(_PROBE_LENGTHS)[:, None]
    pad = config.pad_token_id or 0
    ids[mask & (ids == pad)] = (pad + 1) % config.vocab_size
    rows = torch.from_numpy(np.where(mask, ids, pad))
    probes = {"input_ids": rows, "attention_mask": torch.from_numpy(mask.astype(np.int64))}
    if config.is_encoder_decoder:
        probes["decoder_input_ids"] = rows[:, : min(_PROBE_LENGTHS) + 2]
    return probes


def _outputs(model: Any, probes: dict[str, torch.Tensor]) -> torch.Tensor:
    """A model's outputs for the probes, without padded positions: [positions, outputs]."""
    inner = unwrapped_model(model)
    inputs = {
        name: probe.to(inner.device, inner.dtype if probe.is_floating_point() else probe.dtype)
        for name, probe in probes.items()
    }
    with evaluation_mode(model):
        output = inner(**inputs)
    if "start_logits" in output:
        outputs = torch.stack([output.start_logits, output.end_logits], -1)
    else:
        outputs = output.logits if "logits" in output else output.last_hidden_state
    outputs = outputs.float().cpu()
    mask = probes.get("attention_mask")
    if outputs.dim() == 3 and mask is not None and mask.shape == outputs.shape[:2]:
        return outputs[mask.bool()]
    return outputs.flatten(0, -2)
