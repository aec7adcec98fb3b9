"""Which files of a folder are its data: all of them, unless they are to be kept apart."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from moli.records.errors import InputError

SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", ".parquet", ".arrow")
# What `datasets` keeps beside its data.
_STATE = "state.json"
_BESIDE = ("dataset_info.json", "dataset_dict.json", "dataset_infos.json", _STATE)
# Those to learn from first, then those to judge by while a run lasts, then those for the end.
_SPLITS = ("train", "training", "validation", "valid", "val", "dev", "eval", "test", "testing")
_NAMED = re.compile(rf"({'|'.join(_SPLITS)})(?=[-_.]|$)", re.IGNORECASE)


def suffix_of(path: Path) -> str:
    """A file's suffix in small letters, without that of its compression."""
    suffixes = [each.lower() for each in path.suffixes]
    if suffixes[-1:] == [".gz"]:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def data_files(folder: Path) -> list[Path]:
    """The data files below a folder, in order of name.

    Raises:
        InputError: there are none, or they are of several splits, which a run has to keep apart.
    """
    files = {
        path
        for path in folder.rglob("*")
        if path.is_file() and suffix_of(path) in SUFFIXES and path.name not in _BESIDE
    }
    for state in folder.rglob(_STATE):
        beside = {path for path in files if path.parent == state.parent}
        files = (files - beside) | _saved(state, beside)
    if not files:
        raise InputError(
            "no data file in this folder", where=str(folder), fix=f"Give {', '.join(SUFFIXES)}."
        )
    splits: dict[str, list[Path]] = {}
    for path in sorted(files):
        if split := _split(path.relative_to(folder)):
            splits.setdefault(split, []).append(path)
    if len(splits) > 1:
        raise _divided(folder, splits)
    return sorted(files)


def _saved(state: Path, beside: set[Path]) -> set[Path]:
    """Of the files beside a state, those that `datasets` has saved; the others are its cache."""
    try:
        listed: Any = json.loads(state.read_text(encoding="utf-8"))
        return {state.parent / str(each["filename"]) for each in listed["_data_files"]}
    except (OSError, ValueError, TypeError, KeyError):  # another program's, or an older version's
        return {path for path in beside if not re.fullmatch(r"cache-.*\.arrow", path.name)}


def _split(path: Path) -> str:
    """The split that a file is of by its own name or by that of a folder, the nearest first."""
    for name in reversed(path.parts):
        if found := _NAMED.match(name):
            return found[0].lower()
    return ""


def _divided(folder: Path, splits: Mapping[str, Sequence[Path]]) -> InputError:
    names = sorted(splits, key=_SPLITS.index)
    places = [_place(folder, name, splits) for name in names]
    if None in places[:2]:
        fix = "Put the files of each into a folder of its own, and give one of them."
    else:
        fix = f"Give one of them: {' or '.join(map(str, filter(None, places)))}."
    what = f"these files are of {len(names)} splits: {', '.join(names)}"
    return InputError(what, where=str(folder), fix=fix)


def _place(folder: Path, name: str, splits: Mapping[str, Sequence[Path]]) -> Path | None:
    """The folder or the file that has nothing but a split, if there is one."""
    own = splits[name]
    shared = Path(os.path.commonpath([path.parent for path in own]))
    others = [path for split, paths in splits.items() if split != name for path in paths]
    if shared != folder and not any(path.is_relative_to(shared) for path in others):
        return shared
    return own[0] if len(own) == 1 else None
