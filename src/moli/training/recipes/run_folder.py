"""The files that a run keeps in its folder, apart from its checkpoints and its listeners' files."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from moli.models.weights.json_files import write_json
from moli.records.errors import InputError

REQUESTED = "asked.json"  # the recipe as it was given
RESOLVED = "settled.json"  # the resolved recipe
ESTIMATE = "estimate.json"  # the expected time and memory
LOCK = "run.lock"  # held by the process that works on the run
HASHES = "hashes.json"  # hashes of the data, the base and the template


def check_unchanged(folder: Path, hashes: Mapping[str, str]) -> None:
    """Refuse to resume a run whose data, base or template has changed.

    Args:
        hashes: the hash of each by its name; they are written down when the run starts.

    Raises:
        InputError: a hash differs from the one at the start.
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
