"""What a run was made with, written to its folder for people and for its report."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from dataclasses import asdict
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from moli.models.hardware.probe import Machine
from moli.models.weights.json_files import write_json
from moli.training.recipes.recipe import Recipe

RECIPE, ENVIRONMENT = "recipe.yaml", "environment.json"
_PACKAGES = ("moli", "torch", "transformers", "peft", "tokenizers", "safetensors", "numpy")


def write(folder: Path, recipe: Recipe, machine: Machine) -> None:
    """Write `recipe.yaml`, with every value that was left open, and `environment.json`."""
    import yaml

    values = recipe.model_dump(mode="json")
    text = yaml.safe_dump(values, sort_keys=False, allow_unicode=True)
    (folder / RECIPE).write_text(text, encoding="utf-8")
    write_json(folder / ENVIRONMENT, describe(machine))


def describe(machine: Machine) -> dict[str, Any]:
    """The versions of the libraries, and the machine."""
    found = asdict(machine)
    gflops = {name: round(value, 1) for name, value in found.pop("gflops").items()}
    memory = found.pop("memory") >> 20
    return {
        "versions": {"python": platform.python_version(), **_versions(_PACKAGES)},
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "machine": {**found, "gflops": gflops, "free_memory_mb": memory},
    }


def _versions(packages: Sequence[str]) -> dict[str, str]:
    found = {}
    for name in packages:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "not installed"
    return found
