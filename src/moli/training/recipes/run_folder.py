"""The files that a run keeps in its folder, but for those that its listeners write."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from moli.models.weights.json_files import write_json
from moli.records.errors import InputError

ASKED = "asked.json"  # the recipe as it was given
SETTLED = "settled.json"  # with all that it left open decided
ESTIMATE = "estimate.json"  # of time and memory
HASHES = "hashes.json"  # of what the run learns from


def check_unchanged(folder: Path, hashes: Mapping[str, str]) -> None:
    """Refuse to resume a run whose data, base or template has changed.

    Args:
        hashes: of each, by its name; written down when the run starts.

    Raises:
        InputError: they differ.
    """
    path = folder / HASHES
    if not path.exists():
        write_json(path, hashes)
    before = json.loads(path.read_text(encoding="utf-8"))
    if changed := [name for name in hashes if hashes[name] != before.get(name)]:
        raise InputError(
            f"changed since the run started: {', '.join(changed)}",
            where=str(folder),
            fix="Restore it, or start a new run.",
        )
