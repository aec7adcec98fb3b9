"""Models of other formats, converted once for the machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from moli.models.weights.known import models_folder
from moli.models.weights.whole_folder import explain_failures, whole_folder
from moli.records.hashing import hash_file
from moli.workspace.locks import hold_lock

_WAIT = 3600.0  # seconds for another process that converts the same model


def converted_folder(file: Path, convert: Callable[[Path], None]) -> Path:
    """The folder of a model in the format of transformers, found by the hash of its weights.

    Args:
        file: the weights in their own format.
        convert: writes the model into a folder, which is done only the first time.

    Raises:
        ModelError: the model cannot be converted, or the folder not be written.
    """
    store = models_folder() / "converted"
    with explain_failures(models_folder()):
        target = store / hash_file(file).hex()[:16]
        if not target.is_dir():
            lock = store / f".{target.name}.lock"
            with hold_lock(lock, str(file), where=str(store), timeout=_WAIT):
                if not target.is_dir():
                    with whole_folder(target) as draft:
                        convert(draft)
    return target
