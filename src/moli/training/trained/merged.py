"""An adapter merged into its base as a model of the workspace, to be trained further."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

from moli.training.trained.export import export
from moli.workspace.content import StoredModel
from moli.workspace.models import ModelStore


def store_merged(stored: StoredModel, store: ModelStore) -> StoredModel:
    """The whole model that an adapter makes of its base; it is merged the first time.

    Its manifest has the adapter as `parent`.

    Raises:
        InputError: the adapter's method cannot be merged.
        ModelError: the base has changed, or the merged model's outputs differ.
        WorkspaceError: the files cannot be written.
    """
    for other in store.list():
        if other.manifest.parent == stored.hash and other.manifest.method == "full":
            return other
    manifest = replace(
        stored.manifest,
        method="full",
        parent=stored.hash,
        recipe={**stored.manifest.recipe, "method": "full"},
    )
    with tempfile.TemporaryDirectory(prefix="moli-merge-") as folder:
        draft = Path(folder) / "merged"
        export(stored, draft, merge=True)
        return store.add(draft, manifest)
