"""Models of other formats, converted once for the machine."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from moli.models.weights.json_files import read_json, write_json
from moli.models.weights.known import ORIGIN, installed_folder, known_models, models_folder
from moli.models.weights.whole_folder import explain_failures, whole_folder
from moli.records.hashing import hash_file
from moli.workspace.locks import hold_lock

_FOLDER = "converted"
_WAIT = 3600.0  # seconds for another process that converts the same model


@dataclass(frozen=True, slots=True)
class ConvertedModel:
    """A model that was converted on this machine.

    Attributes:
        name: the first 16 digits of the SHA-256 of the file that it was made from.
        source: path of the file when it was converted; "" if it was not recorded.
    """

    name: str
    source: str
    bytes: int
    folder: Path


def converted_folder(file: Path, convert: Callable[[Path], None]) -> Path:
    """The folder of a model in the format of transformers, found by the hash of its weights.

    Args:
        file: the weights in their own format.
        convert: writes the model into a folder, which is done only the first time.

    Raises:
        ModelError: the model cannot be converted, or the folder not be written.
    """
    store = models_folder() / _FOLDER
    with explain_failures(models_folder()):
        target = store / hash_file(file).hex()[:16]
        if not target.is_dir():
            lock = store / f".{target.name}.lock"
            with hold_lock(lock, str(file), where=str(store), timeout=_WAIT):
                if not target.is_dir():
                    with whole_folder(target) as draft:
                        convert(draft)
                        write_json(draft / ORIGIN, {"file": str(file.absolute())})
    return target


def converted_models() -> list[ConvertedModel]:
    """The models that were converted on this machine, by name."""
    folders = sorted((models_folder() / _FOLDER).glob("[0-9a-f]*"))
    return [
        ConvertedModel(
            folder.name,
            (read_json(folder / ORIGIN) or {}).get("file", ""),
            sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()),
            folder,
        )
        for folder in folders
    ]


def remove_from_machine(name: str) -> Path | None:
    """Remove a model that was fetched or converted, whole or not at all.

    Returns:
        The folder that it was in; None if there is no such model.

    Raises:
        ModelError: the folder cannot be removed.
    """
    converted = {model.name: model.folder for model in converted_models()}
    folder = installed_folder(name) if name in known_models() else converted.get(name)
    if folder is not None:
        with explain_failures(models_folder()):
            draft = folder.with_name(f".{folder.name}.draft")  # is removed by whoever finds it
            shutil.rmtree(draft, ignore_errors=True)
            folder.rename(draft)
            shutil.rmtree(draft, ignore_errors=True)
    return folder
