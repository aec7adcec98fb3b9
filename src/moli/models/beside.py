"""Small files that lie beside a model's weights, in its folder or on the hub."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from moli.models.text import read_json


def read_beside(folder: str, name: str) -> Any:
    """A JSON file of a model by its folder or name on the hub; None where it has none."""
    if Path(folder).is_dir():
        return read_json(Path(folder) / name)
    from transformers.utils.hub import cached_file

    found = cached_file(
        folder,
        name,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return read_json(Path(found)) if found else None
