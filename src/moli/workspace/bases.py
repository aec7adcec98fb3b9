"""The bases of stored adapters: where they are, after a project's folder or a base was moved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from moli.records.errors import InputError
from moli.records.hashing import hash_weight_files
from moli.records.models import Manifest
from moli.workspace.content import StoredModel
from moli.workspace.paths import absolute_values, is_gone, locate, model_folders, relative_values
from moli.workspace.shipped import is_shipped

_Change = Callable[[Mapping[str, Any]], dict[str, Any]]


def with_relative_paths(manifest: Manifest, root: Path) -> Manifest:
    """A manifest as it is written, with the paths in the workspace relative to its folder."""
    return _with_paths(manifest, lambda values: relative_values(values, root))


def with_absolute_paths(manifest: Manifest, root: Path) -> Manifest:
    """A manifest that was read, with absolute paths."""
    return _with_paths(manifest, lambda values: absolute_values(values, root))


def _with_paths(manifest: Manifest, change: _Change) -> Manifest:
    """A manifest with a change made to the paths in its recipe and to its base."""
    base = change({"base": manifest.base})["base"]
    return replace(manifest, recipe=change(manifest.recipe), base=base)


def with_base(stored: StoredModel, folder: Path) -> Manifest:
    """An adapter's manifest with another folder for its base.

    Raises:
        InputError: the model has no base, or the folder has other weights than its base.
    """
    manifest = stored.manifest
    if manifest.method == "full" or is_shipped(stored.name):
        raise InputError("it has no base that could be moved", where=stored.name)
    if hash_weight_files(folder) != manifest.base_hash:
        raise InputError(
            f"not the base of {stored.name}, whose weights have the hash {manifest.base_hash[:12]}",
            where=str(folder),
            fix="Name the folder that has the same weights.",
        )
    return _with_base(manifest, str(folder.absolute()))


def with_found_base(stored: StoredModel, root: Path) -> StoredModel:
    """A model whose base, if it is not where it was, was found by the hash of its weights."""
    manifest = stored.manifest
    if not (is_gone(manifest.base) and manifest.base_hash):
        return stored

    def fits(folder: Path) -> bool:
        return hash_weight_files(folder) == manifest.base_hash

    base = locate(manifest.base, root, fits)
    if is_gone(base):
        base = next((str(folder) for folder in model_folders(root) if fits(folder)), base)
    return replace(stored, manifest=_with_base(manifest, base))


def _with_base(manifest: Manifest, base: str) -> Manifest:
    """A manifest with another reference of the base."""
    return replace(manifest, recipe={**manifest.recipe, "base": base}, base=base)
