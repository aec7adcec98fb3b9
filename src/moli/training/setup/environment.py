"""A run's recipe, libraries and machine, written to its folder for people and its report."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from moli.models.hardware.probe import Machine
from moli.models.weights.json_files import write_json
from moli.records.files import whole_file
from moli.workspace.paths import PLACES, relative_values

RECIPE, ENVIRONMENT = "recipe.yaml", "environment.json"
_PACKAGES = ("moli", "torch", "transformers", "peft", "tokenizers", "safetensors", "numpy")


def write_environment(folder: Path, recipe: BaseModel, machine: Machine) -> None:
    """Write `recipe.yaml`, with every value that was left open, and `environment.json`.

    A recipe's paths start from its file, so that it still works once the workspace was moved.
    """
    import yaml

    root = [*folder.parents][:3][-1]  # the workspace's, above .moli/runs
    values = relative_values(recipe.model_dump(mode="json"), root)
    for key in PLACES:
        if str(values.get(key)).startswith("./"):
            values[key] = f"../../../{values[key][2:]}"
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    with whole_file(folder / RECIPE) as draft:
        draft.write_text(text, encoding="utf-8")
    write_json(folder / ENVIRONMENT, describe_environment(machine))


def describe_environment(machine: Machine) -> dict[str, Any]:
    """The versions of the libraries, and the machine's properties."""
    properties = asdict(machine)
    gflops = {name: round(value, 1) for name, value in properties.pop("gflops").items()}
    memory = properties.pop("memory") >> 20
    return {
        "versions": {"python": platform.python_version(), **_versions(_PACKAGES)},
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "machine": {**properties, "gflops": gflops, "free_memory_mb": memory},
    }


def _versions(packages: Sequence[str]) -> dict[str, str]:
    """Versions of packages by name; "not installed" for those that are missing."""
    versions = {}
    for name in packages:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = "not installed"
    return versions
