"""The reference's values for a run's samples: computed once, before the first step, and kept."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.numpy import load_file

from moli.records.errors import InputError
from moli.training.loop.checkpoint import write_tensors
from moli.training.loop.world import World
from moli.training.reference import reference_values, set_references
from moli.training.setup.prepared import PreparedRun

REFERENCE = "reference.safetensors"


def prepare_reference(prepared: PreparedRun, folder: Path, world: World) -> None:
    """Set the values of the reference in all samples of a run, if its task needs any.

    They are computed with the weights before the first step, and read from the run's folder when it
    is resumed.

    Raises:
        InputError: the run has taken steps, and its file with the values is gone.
    """
    if not prepared.task.needs_reference:
        return
    values = world.on_rank_zero(lambda: _read(folder, prepared.loop.progress.step))
    if values is None:
        own = world.call_unsharded(prepared.loop.loss, lambda: _compute(prepared))
        values = world.on_rank_zero(lambda: _write(folder, own))
    held_out = [each for group in prepared.data.evaluation_examples for each in group.samples]
    for name, samples in (("train", prepared.data.samples), ("held_out", held_out)):
        set_references(prepared.task, samples, values[name])


def _compute(prepared: PreparedRun) -> dict[str, NDArray[np.float64]]:
    """The values of the training samples and of those held out, [samples, values] each.

    The held-out ones are computed together as an evaluation does, so that it finds no difference
    between the model and the reference before the first step.
    """
    held_out = [each for group in prepared.data.evaluation_examples for each in group.samples]
    packed = bool(prepared.resolved.packed)
    return {
        name: reference_values(prepared.task, prepared.model, samples, packed=packed)
        for name, samples in (("train", prepared.data.samples), ("held_out", held_out))
    }


def _read(folder: Path, step: int) -> dict[str, NDArray[np.float64]] | None:
    """The values in a run's folder; None before they have been computed."""
    path = folder / REFERENCE
    if path.is_file():
        return load_file(path)
    if step:
        raise InputError(
            "its reference.safetensors is gone, so it cannot be compared with how it began",
            where=folder.name,
            fix="Start a new run.",
        )
    return None


def _write(folder: Path, values: dict[str, NDArray[np.float64]]) -> dict[str, NDArray[np.float64]]:
    """Write the values to a run's folder, and return them."""
    write_tensors(folder / REFERENCE, {k: torch.from_numpy(v) for k, v in values.items()}, {})
    return values
