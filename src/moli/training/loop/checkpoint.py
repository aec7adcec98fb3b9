"""All that a run needs to resume as if it had never stopped, in one file that is never partial."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from moli.records.errors import InputError, WorkspaceError
from moli.records.files import remove_drafts, whole_file

CHECKPOINT, _BEST = "checkpoint.safetensors", "best-*.safetensors"


@dataclass(slots=True)
class TrainingProgress:
    """Steps, sums and the best evaluation of a run so far, over all its resumptions.

    Attributes:
        best: the best evaluation's score, larger is better; None before the first evaluation.
        best_step: the step after which the kept weights were evaluated.
        metrics: metrics of the kept weights.
        base_metrics: metrics before the first step.
        gain: amount by which the last score is above the best one before it.
        stale: number of evaluations since the best one.
    """

    step: int = 0
    examples: int = 0
    tokens: int = 0
    supervised: int = 0
    seconds: float = 0.0
    best: float | None = None
    best_step: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    base_metrics: dict[str, float] = field(default_factory=dict)
    gain: float = 0.0
    stale: int = 0


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A checkpoint's content: progress, and tensors by name.

    Attributes:
        average: the mean of the weights; empty if the run has none.
        state: what else an algorithm keeps, as JSON has it.
    """

    progress: TrainingProgress
    weights: dict[str, torch.Tensor]
    optimizer: dict[str, torch.Tensor]
    average: dict[str, torch.Tensor]
    state: dict[str, Any] = field(default_factory=dict)


def save_checkpoint(
    folder: Path,
    progress: TrainingProgress,
    weights: Mapping[str, torch.Tensor],
    optimizer: Mapping[str, torch.Tensor],
    average: Mapping[str, torch.Tensor],
    state: Mapping[str, Any] | None = None,
) -> None:
    """Replace the folder's checkpoint. The random state is saved too.

    Args:
        state: what else an algorithm keeps, as JSON has it.
    """
    parts = {"weights": weights, "optimizer": optimizer, "average": average}
    tensors = {
        f"{part}/{name}": tensor for part, named in parts.items() for name, tensor in named.items()
    }
    tensors["random/cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random/cuda"] = torch.cuda.get_rng_state()
    metadata = {"progress": json.dumps(asdict(progress)), "state": json.dumps(state or {})}
    write_tensors(folder / CHECKPOINT, tensors, metadata)
    for path in folder.glob(_BEST):  # from here on, only the best that this checkpoint knows
        if path != best_weights_path(folder, progress.best_step):
            path.unlink()


def best_weights_path(folder: Path, step: int) -> Path:
    """The file with the weights of the best evaluation so far, which was made after `step`.

    The step is in its name: a run that resumes from an earlier checkpoint finds the weights that
    were the best at that time.
    """
    return folder / _BEST.replace("*", str(step))


def saved_files(folder: Path) -> list[Path]:
    """The checkpoint and all best weights in a run's folder."""
    return [*folder.glob(CHECKPOINT), *folder.glob(_BEST)]


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoint and all best weights from a run's folder."""
    remove_drafts(folder)
    for path in saved_files(folder):
        path.unlink(missing_ok=True)


def load_checkpoint(folder: Path) -> Checkpoint | None:
    """Load the folder's checkpoint and set the random state from it; None if there is none.

    Raises:
        InputError: the file is damaged.
    """
    path = folder / CHECKPOINT
    if not path.exists():
        return None
    from safetensors import SafetensorError

    try:
        with safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            progress = TrainingProgress(**json.loads(file.metadata()["progress"]))
            state = json.loads(file.metadata().get("state", "{}"))
    except (SafetensorError, KeyError, TypeError, OSError) as error:
        raise InputError(
            f"the checkpoint cannot be read ({error})",
            where=str(path),
            fix="Delete the run's folder and start again.",
        ) from error
    torch.set_rng_state(tensors["random/cpu"])
    if "random/cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random/cuda"])
    return Checkpoint(
        progress,
        weights=strip_prefix(tensors, "weights/"),
        optimizer=strip_prefix(tensors, "optimizer/"),
        average=strip_prefix(tensors, "average/"),
        state=state,
    )


def strip_prefix(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    """The tensors whose names have the prefix, by their names without it."""
    return {
        name.removeprefix(prefix): tensor
        for name, tensor in tensors.items()
        if name.startswith(prefix)
    }


def write_tensors(
    path: Path, tensors: Mapping[str, torch.Tensor], metadata: Mapping[str, Any]
) -> None:
    """Write tensors to a safetensors file that gets its name only once all of it is on disk.

    Raises:
        WorkspaceError: it cannot be written; what was saved before is still there.
    """
    from safetensors import SafetensorError

    contiguous = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    try:
        with whole_file(path) as draft:
            save_file(contiguous, draft, {name: str(value) for name, value in metadata.items()})
    except (OSError, SafetensorError) as error:
        needed = sum(each.nbytes for each in contiguous.values())
        raise _write_error(path, error, needed) from error


def _write_error(path: Path, error: Exception, needed: int) -> WorkspaceError:
    """The error for a file of so many bytes that cannot be written."""
    folder = path.parent
    free = shutil.disk_usage(folder).free
    if free < needed:
        reason = f"the disk is full: {needed / 1e6:,.1f} MB are needed, {free / 1e6:,.1f} are free"
    else:
        reason = str(error).splitlines()[0]
    resume = f"continue from the last checkpoint with: moli tune --resume {folder.name}"
    return WorkspaceError(
        f"{path.name} cannot be written ({reason})",
        where=str(folder),
        fix=f"Free some space, and {resume if (folder / CHECKPOINT).exists() else 'start again'}.",
    )
