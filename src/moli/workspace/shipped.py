"""Models that ship with Moli: folders in the package, in the layout of the store.

shipped("builtin:reader").folder
"""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

from moli.records.errors import NotFoundError
from moli.workspace.content import MANIFEST, StoredModel, read_stored_model

_SCHEME = "builtin:"


def is_shipped(reference: str) -> bool:
    """Whether a reference has the form `builtin:NAME`."""
    return reference.startswith(_SCHEME)


def shipped(reference: str) -> StoredModel:
    """The model that `builtin:NAME` names.

    Raises:
        NotFoundError: no model trained by Moli ships with that name.
    """
    name = reference.removeprefix(_SCHEME)
    if name not in shipped_names():
        known = ", ".join(_SCHEME + each for each in shipped_names())
        raise NotFoundError(
            f"no trained model ships as '{reference}'",
            fix=f"There are: {known}; and builtin:minilm, as a base.",
        )
    return read_stored_model(_folder() / name, reference)


def shipped_names() -> tuple[str, ...]:
    """Names of the models that ship, in order."""
    return tuple(sorted(path.parent.name for path in _folder().glob(f"*/{MANIFEST}")))


def _folder() -> Path:
    """The folder of the models that ship."""
    return Path(str(files("moli"))) / "shipped"
