"""Paths in manifests and runs, kept so that a project's folder can be moved.

A path inside the workspace is written as `./base`, relative to the workspace's folder. One that is
not where it was, as an absolute path may be, is looked for by its last parts.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

PLACES = ("base", "data", "held_out", "template")  # keys of a recipe that may be paths
_RELATIVE = "./"
_MAX_DEPTH = 4  # of folders below the workspace's that are searched
_MAX_PARENTS = 3  # folders above the workspace's in which last parts are tried


def relative_values(values: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """A recipe's values with the paths inside a workspace relative to its folder."""
    return _change_places(values, lambda text: _relative_path(text, root))


def absolute_values(values: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """A recipe's values with absolute paths, in place of those relative to a workspace's folder."""
    return _change_places(values, lambda text: _absolute_path(text, root))


def located_values(values: Mapping[str, Any], root: Path) -> dict[str, Any]:
    """A recipe's values, in which paths that are gone are replaced by the first that fits."""
    return _change_places(values, lambda text: locate(text, root, lambda _: True))


def placed_values(values: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """A recipe's values with relative paths starting from a folder; ~ is the home folder.

    The base is one only if there is such a folder; else it is a model's name.
    """
    placed = _change_places(values, lambda text: str(folder / Path(text).expanduser()))
    base = values.get("base")
    if isinstance(base, str | Path) and not Path(placed["base"]).is_dir():
        placed["base"] = str(base)
    return placed


def _change_places(values: Mapping[str, Any], change: Callable[[str], str]) -> dict[str, Any]:
    """A recipe's values with a change made to those that may be paths, or lists of paths."""

    def changed(value: Any) -> Any:
        if isinstance(value, list | tuple):
            return [changed(item) for item in value]
        return change(str(value)) if isinstance(value, str | Path) and str(value) else value

    return {key: changed(value) if key in PLACES else value for key, value in values.items()}


def _relative_path(text: str, root: Path) -> str:
    """An absolute path relative to a folder, if it is inside; any other text as it is."""
    path = Path(text)
    if path.is_absolute():
        for variant in (path, path.resolve()):
            if variant.is_relative_to(root):
                return _RELATIVE + variant.relative_to(root).as_posix()
    return text


def _absolute_path(text: str, root: Path) -> str:
    """The absolute path that `_relative_path` made relative; any other text as it is."""
    return str(root / text) if text.startswith(_RELATIVE) else text


def is_gone(text: str) -> bool:
    """Whether a text is an absolute path at which there is nothing."""
    return Path(text).is_absolute() and not Path(text).exists()


def locate(text: str, root: Path, fits: Callable[[Path], bool]) -> str:
    """The place of a path that is gone: the same last parts in the workspace or a folder above it.

    Args:
        text: a path; one that is still there, and anything that is no absolute path, is returned.
        fits: whether a path has the right content.
    """
    if not is_gone(text):
        return text
    parts = Path(text).parts[1:]
    for folder in (root, *list(root.parents)[:_MAX_PARENTS]):
        for start in range(len(parts)):
            candidate = folder.joinpath(*parts[start:])
            if candidate.exists() and fits(candidate):
                return str(candidate)
    return text


def model_folders(root: Path) -> Iterator[Path]:
    """Folders of models below a folder; hidden folders are not searched."""
    for name, folders, files in os.walk(root):
        depth = len(Path(name).relative_to(root).parts)
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        if depth >= _MAX_DEPTH:
            folders.clear()
        if "config.json" in files and any(each.endswith(".safetensors") for each in files):
            yield Path(name)
