"""Disk space that a run needs."""

from __future__ import annotations

import shutil
from pathlib import Path

from moli.records.errors import WorkspaceError
from moli.training.loop.checkpoint import saved_files
from moli.training.loop.loop import Loop

_MOMENTS = 2  # tensors that AdamW keeps for a weight; Muon keeps one


def check_disk_space(loop: Loop, folder: Path) -> None:
    """Check that a run's checkpoints and its model fit on a disk.

    A new checkpoint is written before the old one is removed, and so are the best weights. At the
    end a model is written and copied, while a checkpoint and the best weights are still there.

    Args:
        folder: the folder that runs are kept in.

    Raises:
        WorkspaceError: the disk has less space.
    """
    weights = sum(4 * each.numel() for each in loop.weights.state_dict().values())
    checkpoint, best = weights * (1 + _MOMENTS), weights if loop.evaluate else 0
    needed = max(2 * (checkpoint + best), checkpoint + best + 2 * weights)
    needed -= sum(path.stat().st_size for path in saved_files(loop.folder))
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise WorkspaceError(
            f"the disk is too full: the checkpoints of this run need {needed / 1e6:,.0f} MB, but "
            f"{free / 1e6:,.0f} MB are free",
            where=str(folder),
            fix="Free some space, use method: lora, or use a workspace on another disk.",
        )
