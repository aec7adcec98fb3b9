"""A trained language model as one GGUF file, its adapter merged into its base."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory

import torch

from moli.models.gguf.write import GgufPrecision, write_gguf
from moli.records.errors import InputError, WorkspaceError
from moli.records.files import whole_file
from moli.training.recipes.method_table import find_method
from moli.training.recipes.task_table import GENERATIVE_TASKS
from moli.training.trained.export import ExportResult, export, weights_dtype
from moli.training.trained.load import recipe_of
from moli.workspace.content import StoredModel


def export_gguf(
    stored: StoredModel, path: Path, precision: GgufPrecision | None = None
) -> ExportResult:
    """Write a language model as a GGUF file, completely or not at all.

    Args:
        path: the file, if its name ends in .gguf; otherwise a folder for it.
        precision: type of the matrices; by default bf16 if the base has that, else f16.

    Raises:
        InputError: it is not a language model, or there is such a file already.
        ModelError: it is of a kind that is not converted, or its base has changed.
        WorkspaceError: the file cannot be written.
    """
    if stored.manifest.task not in GENERATIVE_TASKS:
        raise InputError(
            f"a model for {stored.manifest.task}, but a GGUF file is for language models",
            where=stored.name,
            fix="Export it without --gguf.",
        )
    name = stored.name.removeprefix("builtin:").partition("@")[0]
    file = path if path.suffix == ".gguf" else path / f"{name}.gguf"
    if file.exists():
        raise InputError("it already exists", where=str(file), fix="Name a new file.")
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        with TemporaryDirectory(prefix=".merged-", dir=file.parent) as draft:
            folder, parity = stored.folder, None
            if find_method(stored.manifest.method).is_adapter:
                folder = Path(draft) / "model"
                parity = export(stored, folder, fp32=True).parity
            with whole_file(file) as written:
                write_gguf(folder, written, precision or _precision_of(stored), name)
    except OSError as error:
        raise WorkspaceError(
            f"it cannot be written ({error.strerror or error})",
            where=str(file),
            fix="Check the disk space and the folder's permissions.",
        ) from error
    return ExportResult(file.parent, (file.name,), parity)


def _precision_of(stored: StoredModel) -> GgufPrecision:
    """The precision of a model's base, in 16 bits."""
    return "bf16" if weights_dtype(recipe_of(stored).base) == torch.bfloat16 else "f16"
