"""Puts a model of a workspace into the package, as `builtin:NAME`.

Use: python dev/ship.py MODEL NAME -w WORKSPACE --card CARD.md

The card says what the model is for and under which licence it may be used; it is part of the
model's content. Paths in the recipe lose their folders, for they are of the machine it ran on.
"""

from __future__ import annotations

import argparse
import shutil
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

from moli.workspace import Workspace
from moli.workspace.content import StoredModel, write_draft

SHIPPED = Path(__file__).resolve().parents[1] / "src" / "moli" / "shipped"


def main() -> None:
    """Ship one model."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("model")
    parser.add_argument("name")
    parser.add_argument("--card", type=Path, required=True)
    parser.add_argument("-w", "--workspace", type=Path, required=True)
    asked = parser.parse_args()
    with Workspace.open(asked.workspace) as workspace:
        content = ship(workspace.models.get(asked.model), SHIPPED / asked.name, asked.card)
    print(f"builtin:{asked.name} {content}")


def ship(stored: StoredModel, target: Path, card: Path) -> str:
    """Replace the folder `target` by a model with its card; the hash of its content."""
    recipe = {
        key: Path(value).name if key in ("data", "held_out") and isinstance(value, str) else value
        for key, value in stored.manifest.recipe.items()
    }
    with TemporaryDirectory() as name:
        shutil.copytree(stored.folder, name, dirs_exist_ok=True)
        shutil.copyfile(card, Path(name, "README.md"))
        shutil.rmtree(target, ignore_errors=True)
        target.mkdir(parents=True)
        return write_draft(Path(name), target, replace(stored.manifest, recipe=recipe))


if __name__ == "__main__":
    main()
