"""Names of a workspace's own models, wherever a model reference is expected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from moli.models.weights.known import known_models, suggest_known
from moli.models.weights.loading import is_gguf, runs_locally
from moli.models.weights.reference import ModelReference, is_hub_name
from moli.records.errors import InputError, NotFoundError
from moli.training.recipes.method_table import find_method
from moli.training.recipes.recipe import Recipe
from moli.training.recipes.task_table import GENERATIVE_TASKS
from moli.workspace.content import StoredModel
from moli.workspace.models import ModelStore

if TYPE_CHECKING:
    from moli.models.backend import ModelPool
    from moli.models.protocols.chat import ChatModel
    from moli.workspace import Workspace

_NEW = ("", "new")  # bases that name no model


def find_named(reference: str, store: ModelStore) -> StoredModel | None:
    """The model of the workspace that a reference names; None if it names another.

    An alias takes precedence over a folder, and a folder over a name that `moli models get` knows,
    or one on the hub.

    Raises:
        NotFoundError: it is none of these; similar names are suggested.
        InputError: several models have hashes that begin so.
    """
    if ModelReference.parse(reference).scheme != "hub":
        return None
    try:
        return find_stored(store, reference)
    except NotFoundError as error:
        if (
            Path(reference).expanduser().is_dir()
            or reference in known_models()
            or is_hub_name(reference)
        ):
            return None
        similar = suggest_known(reference)
        fix = f"{similar}{error.fix} Or give a folder, or org/name of a model on the hub."
        raise NotFoundError(error.what, fix=fix) from error


def find_stored(store: ModelStore, name: str) -> StoredModel:
    """The stored model with an alias, hash or `base@adapter`.

    Raises:
        NotFoundError: there is none, or it is an adapter of another base.
        InputError: several models fit a hash.
    """
    base, separator, adapter = name.rpartition("@")
    try:
        return store.get(name)
    except NotFoundError:
        if not separator:
            raise
    stored = store.get(adapter)
    if stored.manifest.base != base:
        raise NotFoundError(
            f"'{adapter}' is an adapter of {stored.manifest.base}, not of {base}",
            fix=f"Ask for {adapter}.",
        )
    return stored


def with_named_base(
    recipe: Recipe, store: ModelStore, merge: Callable[[StoredModel], Path] | None = None
) -> Recipe:
    """The recipe with the folder of its base, if that is a model of the workspace or a GGUF file.

    Args:
        merge: gives the folder of the whole model that an adapter of a language model makes of its
            base; without it, an adapter is refused as a base, as those of other models are.

    Raises:
        NotFoundError: no model has the base's name.
        InputError: the base is an adapter that cannot be merged.
        ModelError: the base is a GGUF file that cannot be converted.
    """
    if recipe.base in _NEW:
        return recipe
    if is_gguf(recipe.base):
        from moli.models.gguf.read import trainable_folder

        path = Path(ModelReference.parse(recipe.base).name).expanduser().absolute()
        return recipe.model_copy(update={"base": str(trainable_folder(path))})
    stored = find_named(recipe.base, store)
    if stored is None:
        return recipe
    is_adapter = find_method(stored.manifest.method).is_adapter
    if is_adapter and merge and stored.manifest.task in GENERATIVE_TASKS:
        return recipe.model_copy(update={"base": str(merge(stored))})
    if is_adapter:
        raise InputError(
            "an adapter, which cannot be trained further",
            where=f"base: {recipe.base}",
            fix=f"Merge it first: moli models export {recipe.base} FOLDER --merge. "
            "Then give base: FOLDER.",
        )
    return recipe.model_copy(update={"base": str(stored.folder)})


def check_named_chat(reference: str, workspace: Workspace) -> None:
    """Check that there is a chat model of this name, without loading it.

    Raises:
        NotFoundError: there is no such model; similar names are suggested.
        InputError: the model does not generate text.
        ModelError: it has no files on this machine.
    """
    if stored := find_named(reference, workspace.models):
        check_generates(reference, stored)
    else:
        runs_locally(reference)


def load_named_chat(
    reference: str, workspace: Workspace, model_pool: ModelPool | None = None
) -> ChatModel:
    """Load a chat model by its reference, or by its name in the workspace.

    Args:
        model_pool: shared base models, among which the model is loaded if it runs here.

    Raises:
        NotFoundError: there is no such model; similar names are suggested.
        InputError: the model does not generate text.
        ModelError: it cannot be loaded, or has changed since it was stored.
    """
    from moli.models.chat.load import load_chat

    stored = find_named(reference, workspace.models)
    if stored is None:
        timeout = workspace.settings.timeout_seconds
        return load_chat(reference, timeout=timeout, model_pool=model_pool)
    return _load_stored_chat(reference, stored, model_pool)


def check_generates(name: str, stored: StoredModel) -> None:
    """Check that a model of the workspace generates text.

    Raises:
        InputError: it is a model for another kind of task; `name` is what it was requested by.
    """
    if stored.manifest.task not in GENERATIVE_TASKS:
        raise InputError(
            f"a model for {stored.manifest.task}, which does not generate text",
            where=name,
            fix="Use one that was tuned for 'instruction'.",
        )


def _load_stored_chat(name: str, stored: StoredModel, model_pool: ModelPool | None) -> ChatModel:
    """Load a model of the workspace as a chat model: its base with the adapter, or all of it."""
    from moli.models.backend import load_base_model
    from moli.models.chat.causal import CausalChat
    from moli.models.chat.load import load_local_chat
    from moli.models.tokenizers import load_tokenizer
    from moli.training.trained.load import check_compatibility, recipe_of

    check_generates(name, stored)
    manifest = stored.manifest
    check_compatibility(stored, recipe_of(stored))
    if not find_method(manifest.method).is_adapter:
        return load_local_chat(str(stored.folder), model_pool)
    pool = model_pool.get if model_pool else load_base_model
    base = pool(manifest.base)
    base.backend.add_adapter(stored.hash, stored.folder)
    tokenizer = load_tokenizer(str(stored.folder))
    return CausalChat(name, replace(base, tokenizer=tokenizer), adapter=stored.hash)
