"""Served models: the language models that requests can name, with the backends that run them.

A backend answers requests with one base model and adapters on it: the engine in this process, or a
vLLM or SGLang server.

A name is looked up in the workspace at every request, so an alias that was moved is served by its
new target from then on. Each base is loaded once, whatever adapters are requested.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from moli.models.backend import LoadedModel, ModelPool
from moli.models.protocols.backend import Backend
from moli.models.tokenizers import load_tokenizer
from moli.models.weights.hashes import hash_template
from moli.models.weights.loading import is_decoder, is_gguf, load_config, runs_locally
from moli.records.errors import ModelError, MoliError, NotFoundError
from moli.serving.request_log import log
from moli.training.recipes.method_table import METHODS, find_method
from moli.training.recipes.task_table import GENERATIVE_TASKS
from moli.training.trained.load import check_compatibility, recipe_of
from moli.training.trained.names import check_generates, find_named, find_stored
from moli.workspace import Workspace
from moli.workspace.content import StoredModel


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model that is ready to generate.

    Attributes:
        name: the name by which a request asked for it.
        base: reference of the base model, or name of a whole model that was trained here.
        tokenizer: tokenizer with the chat template that the model was trained with.
        max_model_len: maximum tokens of a prompt and its answer.
        recommended_sampling: values of sampling parameters for requests that set none.
        trained_hash: content hash of the adapter or whole model, if it was trained here; else "".
        is_adapter: whether `trained_hash` is an adapter's.
    """

    name: str
    backend: Backend
    base: str
    tokenizer: Any
    max_model_len: int
    recommended_sampling: Mapping[str, float]
    trained_hash: str = ""
    is_adapter: bool = False

    @property
    def adapter(self) -> str:
        """Name of the adapter in the backend; "" for a whole model."""
        return self.trained_hash if self.is_adapter else ""

    @property
    def template(self) -> str:
        """The chat template for conversations with tools; "" if there is none."""
        if not self.tokenizer.chat_template:
            return ""
        return str(self.tokenizer.get_chat_template(tools=[{}]))

    @property
    def template_sha256(self) -> str:
        """Hash of the chat template; "" if there is none."""
        return hash_template(self.tokenizer)


@dataclass(frozen=True, slots=True)
class ModelListing:
    """An entry in the list of models.

    Attributes:
        parent: reference of an adapter's base; "" for a whole model.
        hash: content hash of a model that was trained here; "" for others.
    """

    id: str
    created_at: float
    parent: str = ""
    hash: str = ""


class ServedModels:
    """The models of a workspace: the one its settings name, and those that were trained here."""

    def __init__(self, workspace: Workspace, model_pool: ModelPool) -> None:
        self._store = workspace.models
        model = workspace.settings.model
        self._default_is_stored = bool(model) and find_named(model, self._store) is not None
        is_generator = self._default_is_stored or _is_local_generator(model)
        self._default = model if is_generator else ""
        self._model_pool = model_pool
        self._tokenizers: dict[tuple[str, str], Any] = {}  # by base reference and adapter hash
        self._verified: set[str] = set()  # content hashes
        self._last_working: dict[str, ServedModel] = {}  # by alias
        self._lock = threading.RLock()  # a model is loaded once, however many requests name it

    def list(self) -> list[ModelListing]:
        """The base of the settings, then every model with an alias that generates text."""
        is_base = self._default and not self._default_is_stored
        listings = [ModelListing(self._default, 0.0)] if is_base else []
        for stored in self._store.list():
            manifest = stored.manifest
            if manifest.task in GENERATIVE_TASKS:
                method = METHODS.get(manifest.method)
                parent = manifest.base if method is None or method.is_adapter else ""
                listings += [
                    ModelListing(alias, manifest.created_at, parent, stored.hash)
                    for alias in stored.aliases
                ]
        return listings

    def get(self, name: str) -> ServedModel:
        """Load the model with a name: the base of the settings, an alias, `base@adapter` or a hash.

        Raises:
            NotFoundError: there is none; the names that there are are listed.
            InputError: several models fit a hash, or it does not generate text.
            ModelError: the adapter is of a kind that its base's backend cannot run, or the model
                has changed since it was stored. An alias that worked before falls back to its
                earlier target instead.
        """
        name = name or self._default
        if name and name == self._default and not self._default_is_stored:
            return self._load_whole(name, name, name)
        stored = self._find(name)
        try:
            served = self._load(name, stored)
        except ModelError as error:
            if name not in self._last_working:
                raise
            # An alias that was pointed at something broken keeps its last working target.
            log("model refused", alias=name, hash=stored.hash, error=str(error))
            return self._last_working[name]
        if name in stored.aliases:
            self._last_working[name] = served
        return served

    def _find(self, name: str) -> StoredModel:
        """The stored model with a name, for `get`."""
        try:
            return find_stored(self._store, name)
        except NotFoundError as error:
            names = [listing.id for listing in self.list()]
            fix = f"There are: {', '.join(names)}." if names else error.fix
            raise NotFoundError(error.what, "model", fix) from error

    def _load(self, name: str, stored: StoredModel) -> ServedModel:
        """Load a stored model, as an adapter on its base or as a whole model."""
        manifest = stored.manifest
        check_generates(name, stored)
        if not find_method(manifest.method).is_adapter:
            self._verify(stored, weights=False)
            return self._load_whole(name, str(stored.folder), stored.name, stored.hash)
        base = self._model_pool.get(manifest.base)
        tokenizer = self._load_adapter(base, stored)
        return ServedModel(
            name,
            base.backend,
            manifest.base,
            tokenizer,
            base.max_model_len,
            base.recommended_sampling,
            stored.hash,
            is_adapter=True,
        )

    def _load_whole(
        self, name: str, reference: str, public_name: str, trained_hash: str = ""
    ) -> ServedModel:
        """Load a whole model.

        Args:
            name: the name by which a request asked for it.
            public_name: the base's name in exchanges, since its reference may be a folder.
            trained_hash: hash of the model if it was trained here; else "".
        """
        base = self._model_pool.get(reference)
        return ServedModel(
            name,
            base.backend,
            public_name,
            base.tokenizer,
            base.max_model_len,
            base.recommended_sampling,
            trained_hash,
        )

    def _load_adapter(self, base: LoadedModel, stored: StoredModel) -> Any:
        """Add an adapter to its base's backend, unless it is there.

        Returns:
            The tokenizer that is stored with the adapter.
        """
        key = stored.manifest.base, stored.hash
        if tokenizer := self._tokenizers.get(key):
            return tokenizer
        with self._lock:
            if key not in self._tokenizers:
                self._verify(stored, weights=base.is_local)
                base.backend.add_adapter(stored.hash, stored.folder)
                self._tokenizers[key] = load_tokenizer(str(stored.folder))
            return self._tokenizers[key]

    def _verify(self, stored: StoredModel, *, weights: bool) -> None:
        """Check that a model has not changed since it was stored; each content is checked once.

        Args:
            weights: whether its base's weights are on this machine, and are to be checked too.

        Raises:
            ModelError: the model or its base has changed.
        """
        if stored.hash not in self._verified:
            check_compatibility(stored, recipe_of(stored), weights=weights)
            self._verified.add(stored.hash)


def _is_local_generator(reference: str) -> bool:
    """Whether a reference names weights that run on this machine and generate text."""
    if not reference or not runs_locally(reference):
        return False
    if is_gguf(reference):
        return True
    try:
        return is_decoder(load_config(reference))
    except MoliError:
        return False
