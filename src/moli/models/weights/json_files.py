"""Small files next to a model's weights, in its folder or on the hub."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from moli.records.errors import ModelError
from moli.records.files import whole_file

CONFIG_NAME = "config.json"


def read_model_json(model: str, name: str) -> Any:
    """Read a JSON file of a model.

    Args:
        model: a folder, or a name on the hub.

    Returns:
        None if the model has no such file.

    Raises:
        ModelError: it cannot be read.
    """
    if Path(model).is_dir():
        return read_json(Path(model) / name)
    from transformers.utils.hub import cached_file

    path = cached_file(
        model,
        name,
        _raise_exceptions_for_gated_repo=False,
        _raise_exceptions_for_missing_entries=False,
        _raise_exceptions_for_connection_errors=False,
    )
    return read_json(Path(path)) if path else None


def write_json(path: Path, value: Any) -> None:
    """Write a JSON file that people can read as well, whole or not at all."""
    with whole_file(path) as draft:
        draft.write_text(json.dumps(value, indent=2, ensure_ascii=False), encoding="utf-8")


def read_json(path: Path) -> Any:
    """Read a JSON file in a model's folder; None if there is none.

    Raises:
        ModelError: it cannot be read.
    """
    if not path.is_file():
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"cannot be read ({error})", where=str(path), fix="Put the model's own file there."
        ) from error
