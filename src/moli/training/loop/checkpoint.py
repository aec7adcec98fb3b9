"""All that a run needs to resume as if it had never stopped, in one file that is never partial."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from moli.records.errors import InputError

Tensors = dict[str, torch.Tensor]
CHECKPOINT, _BEST = "checkpoint.safetensors", "best-*.safetensors"


@dataclass(slots=True)
class TrainingState:
    """How far a run has got. Sums include the sessions before it was resumed.

    Attributes:
        best: the best evaluation's score, larger is better; None before the first.
        metrics: of that evaluation.
        stale: evaluations since then.
    """

    step: int = 0
    examples: int = 0
    tokens: int = 0
    supervised: int = 0
    seconds: float = 0.0
    best: float | None = None
    best_step: int = 0
    metrics: dict[str, float] = field(default_factory=dict)
    stale: int = 0


def save(
    folder: Path,
    progress: TrainingState,
    weights: Mapping[str, torch.Tensor],
    optimizer: Mapping[str, torch.Tensor],
) -> None:
    """Replace the folder's checkpoint. The random state is saved too."""
    tensors = {f"weights/{name}": each for name, each in weights.items()}
    tensors |= {f"optimizer/{name}": each for name, each in optimizer.items()}
    tensors["random/cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random/cuda"] = torch.cuda.get_rng_state()
    write(folder / CHECKPOINT, tensors, {"progress": json.dumps(asdict(progress))})
    for path in folder.glob(_BEST):  # from here on, only the best that this checkpoint knows
        if path != best_of(folder, progress.best_step):
            path.unlink()


def best_of(folder: Path, step: int) -> Path:
    """Where the weights of the best evaluation so far are kept.

    The file is named by its step: a run that resumes from an earlier checkpoint finds what was the
    best then.
    """
    return folder / _BEST.replace("*", str(step))


def remove(folder: Path) -> None:
    """Remove the checkpoints."""
    for path in (folder / CHECKPOINT, *folder.glob(_BEST)):
        path.unlink(missing_ok=True)


def load(folder: Path) -> tuple[TrainingState, Tensors, Tensors] | None:
    """Progress, weights and optimiser of the folder's checkpoint, the random state set; or None.

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
            progress = TrainingState(**json.loads(file.metadata()["progress"]))
    except (SafetensorError, KeyError, TypeError, OSError) as error:
        raise InputError(
            f"the checkpoint cannot be read ({error})",
            where=str(path),
            fix="Delete the run's folder and start again.",
        ) from error
    torch.set_rng_state(tensors["random/cpu"])
    if "random/cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random/cuda"])
    return progress, _below(tensors, "weights/"), _below(tensors, "optimizer/")


def _below(tensors: Mapping[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {
        name.removeprefix(prefix): each for name, each in tensors.items() if name.startswith(prefix)
    }


def write(path: Path, tensors: Mapping[str, torch.Tensor], facts: Mapping[str, Any]) -> None:
    """Write tensors to a file that gets its name only once all of it is on disk."""
    partial = path.with_suffix(".partial")
    contiguous = {name: each.detach().cpu().contiguous() for name, each in tensors.items()}
    save_file(contiguous, partial, {name: str(value) for name, value in facts.items()})
    with partial.open("rb+") as file:
        os.fsync(file.fileno())
    partial.replace(path)
