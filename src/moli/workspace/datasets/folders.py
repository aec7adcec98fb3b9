"""The data files of a folder: all of them, unless they are of splits to keep apart."""

from __future__ import annotations

import glob
import json
import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from moli.records.errors import InputError

ARROW_SUFFIXES = (".parquet", ".arrow", ".feather", ".ipc")
_TABLE_SUFFIXES = (".jsonl", ".ndjson", ".json", ".csv", ".tsv", *ARROW_SUFFIXES)
# Parts of data that one file may hold as splits: to train on, to hold out, and for the last test.
Part = Literal["training", "held_out", "test"]
SUFFIXES = (*_TABLE_SUFFIXES, ".txt")
# Files that the library `datasets` keeps with its data.
_STATE = "state.json"
_METADATA = ("dataset_info.json", "dataset_dict.json", "dataset_infos.json", _STATE)
# First splits for training, then for evaluation during a run, then for the final evaluation.
_TRAINING = ("train", "training", "训练集", "训练")
_EVALUATION = ("validation", "valid", "val", "dev", "eval", "验证集", "验证", "开发集")
_SPLITS = (*_TRAINING, *_EVALUATION, "test", "testing", "测试集", "测试")
_WILDCARD = re.compile(r"[*?\[]")
# A word of a name; Chinese has no spaces between words.
_SPLIT_NAME = re.compile(
    rf"(?:^|[-_. ])({'|'.join(_SPLITS)})(?=[-_. ]|$)|(训练集|验证集|开发集|测试集)", re.IGNORECASE
)


def is_pattern(path: Path) -> bool:
    """Whether a path has wildcards, such as `parts/*.csv`."""
    return bool(_WILDCARD.search(str(path)))


def expand_paths(paths: Path | Sequence[Path]) -> list[Path]:
    """The files and folders that paths name, some of which may be patterns such as `parts/*.csv`.

    Raises:
        InputError: no file fits a pattern.
    """
    expanded: list[Path] = []
    for path in [paths] if isinstance(paths, Path) else paths:
        home = path.expanduser()
        if home.exists() or not is_pattern(home):
            expanded.append(home)
            continue
        # Path.glob takes no absolute pattern.
        matches = sorted(map(Path, glob.glob(str(home), recursive=True)))  # noqa: PTH207
        if not matches:
            raise InputError("no file fits this pattern", where=str(path), fix="Check it.")
        expanded += matches
    return expanded


def suffix_of(path: Path) -> str:
    """A file's suffix in lower case, without the suffix of its compression."""
    suffixes = [suffix.lower() for suffix in path.suffixes]
    if suffixes[-1:] == [".gz"]:
        suffixes.pop()
    return suffixes[-1] if suffixes else ""


def choose_split(names: Collection[str], part: Part) -> str:
    """The split of a file that holds several which serves as one part of the data.

    Args:
        names: names of the splits; "" is returned if none of them serves.
    """
    ordered = sorted(names, key=lambda name: _SPLITS.index(name.lower()))
    training = [name for name in ordered if name.lower() in _TRAINING]
    others = [name for name in ordered if name not in training]
    chosen = training if part == "training" else others
    return next(iter(chosen if part != "test" else reversed(chosen)), "")


def are_splits(names: Collection[Any]) -> bool:
    """Whether all of some names are names of splits."""
    return bool(names) and all(str(name).lower() in _SPLITS for name in names)


def data_files(folder: Path) -> list[Path]:
    """The data files below a folder, in order of name.

    Raises:
        InputError: there are none, or they are of several splits, which a run has to keep apart.
    """
    known = {
        path
        for path in folder.rglob("*")
        if path.is_file() and suffix_of(path) in SUFFIXES and path.name not in _METADATA
    }
    # Beside tables, a plain text is a note on them.
    files = {path for path in known if suffix_of(path) in _TABLE_SUFFIXES} or known
    for state in folder.rglob(_STATE):
        siblings = {path for path in files if path.parent == state.parent}
        files = (files - siblings) | _saved_files(state, siblings)
    if not files:
        raise InputError(
            "no data file in this folder", where=str(folder), fix=f"Give {', '.join(SUFFIXES)}."
        )
    splits: dict[str, list[Path]] = {}
    for path in sorted(files):
        if split := _split_of(path.relative_to(folder)):
            splits.setdefault(split, []).append(path)
    if len(splits) > 1:
        raise _several_splits(folder, splits)
    return sorted(files)


def _saved_files(state: Path, siblings: set[Path]) -> set[Path]:
    """The files next to a state file that `datasets` has saved; the others are its cache."""
    try:
        content: Any = json.loads(state.read_text(encoding="utf-8"))
        return {state.parent / str(entry["filename"]) for entry in content["_data_files"]}
    except (OSError, ValueError, TypeError, KeyError):  # another program's, or an older version's
        return {path for path in siblings if not re.fullmatch(r"cache-.*\.arrow", path.name)}


def _split_of(path: Path) -> str:
    """The split that a file's own name or the nearest folder's name tells; "" if none does."""
    for name in reversed(path.parts):
        if match := _SPLIT_NAME.search(name):
            return (match[1] or match[2]).lower()
    return ""


def _several_splits(folder: Path, splits: Mapping[str, Sequence[Path]]) -> InputError:
    """The error for a folder with files of several splits, which names a path for each."""
    names = sorted(splits, key=_SPLITS.index)
    paths = [_path_of_split(folder, name, splits) for name in names]
    if None in paths[:2]:
        fix = "Put the files of each into a folder of its own, and give one of them."
    else:
        fix = f"Give one of them: {' or '.join(map(str, filter(None, paths)))}."
    what = f"these files are of {len(names)} splits: {', '.join(names)}"
    return InputError(what, where=str(folder), fix=fix)


def _path_of_split(folder: Path, name: str, splits: Mapping[str, Sequence[Path]]) -> Path | None:
    """The folder or the file that holds one split and nothing else; None if there is none."""
    own = splits[name]
    shared = Path(os.path.commonpath([path.parent for path in own]))
    others = [path for split, paths in splits.items() if split != name for path in paths]
    if shared != folder and not any(path.is_relative_to(shared) for path in others):
        return shared
    return own[0] if len(own) == 1 else None
