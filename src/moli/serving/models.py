"""The language models that a server answers with: bases, and adapters on them.

A name is looked up in the workspace at every request, so an alias that is moved is served by what
it points at from then on. Each base is loaded once, whatever adapters are asked for.
"""

from __future__ import annotations

import threading
from dataclasses import dataclass, replace
from typing import Any

from moli.models.backend import LoadedModel, ModelPool
from moli.models.protocols.backend import Backend
from moli.models.tokenizers import load_tokenizer
from moli.models.weights.hashes import hash_template
from moli.models.weights.loading import is_decoder, is_gguf, load_config, runs_locally
from moli.records.errors import InputError, ModelError, MoliError, NotFoundError
from moli.serving.observing import log
from moli.training.recipes.method_table import METHODS
from moli.training.recipes.task_table import GENERATIVE_TASKS
from moli.training.trained.load import check_contract, recipe_of
from moli.workspace import Workspace
from moli.workspace.content import StoredModel


@dataclass(frozen=True, slots=True)
class Served:
    """A model as a request means it.

    Attributes:
        name: the one it was asked for by.
        base: the base's reference.
        adapter: the name of its content, "" for a base alone.
        tokenizer: with the chat template that the model was trained with.
        places: maximum tokens of a conversation.
        content: the hash of what was trained here, an adapter or a whole model; "" for others.
    """

    name: str
    backend: Backend
    base: str
    adapter: str
    tokenizer: Any
    places: int
    content: str = ""

    @property
    def template(self) -> str:
        """The chat template for conversations with tools; "" where there is none."""
        if not self.tokenizer.chat_template:
            return ""
        return str(self.tokenizer.get_chat_template(tools=[{}]))

    @property
    def template_sha256(self) -> str:
        """Hash of the chat template; "" where there is none."""
        return hash_template(self.tokenizer)


@dataclass(frozen=True, slots=True)
class Offered:
    """A model that can be asked for; `parent` is the base of an adapter."""

    id: str
    created_at: float
    parent: str = ""
    hash: str = ""


class Models:
    """The models of a workspace: the one its settings name, and those that were trained here."""

    def __init__(self, workspace: Workspace, bases: ModelPool) -> None:
        self._store = workspace.models
        self._default = workspace.settings.model if _writes_here(workspace.settings.model) else ""
        self._bases = bases
        self._adapters: dict[tuple[str, str], Any] = {}  # base and content to tokenizer
        self._checked: set[str] = set()
        self._good: dict[str, Served] = {}  # what each alias last meant that was usable
        self._turn = threading.RLock()  # a model is loaded once, however many ask for it

    def list(self) -> list[Offered]:
        """The base of the settings, then every model with an alias that generates text."""
        offered = [Offered(self._default, 0.0)] if self._default else []
        for stored in self._store.list():
            made = stored.manifest
            if made.task in GENERATIVE_TASKS:
                parent = made.base if METHODS[made.method].is_adapter else ""
                offered += [
                    Offered(alias, made.created_at, parent, stored.hash) for alias in stored.aliases
                ]
        return offered

    def get(self, name: str) -> Served:
        """The model of a name: the base of the settings, an alias, `base@adapter` or a hash.

        Raises:
            NotFoundError: there is none; similar names are suggested.
            InputError: several models fit a hash, or it does not generate text.
            ModelError: it cannot share its base, or has changed since it was stored; an alias that
                meant something good before falls back to that instead.
        """
        if name in ("", self._default) and self._default:
            return self._alone(self._default, self._default, self._default)
        stored = self._stored(name)
        try:
            served = self._of(name, stored)
        except ModelError as error:
            if name not in self._good:
                raise
            # An alias that was pointed at something broken means what it meant before.
            log("model refused", alias=name, hash=stored.hash, error=str(error))
            return self._good[name]
        if name in stored.aliases:
            self._good[name] = served
        return served

    def _of(self, name: str, stored: StoredModel) -> Served:
        made = stored.manifest
        if made.task not in GENERATIVE_TASKS:
            raise InputError(
                f"a model for {made.task}, which does not generate text",
                where=name,
                fix="Use one that was tuned for 'instruction'.",
            )
        if not METHODS[made.method].is_adapter:
            self._check(stored, weights=False)
            alone = self._alone(name, str(stored.folder), stored.name)
            return replace(alone, content=stored.hash)
        base = self._bases.get(made.base)
        tokenizer = self._adapted(base, stored)
        return Served(
            name, base.backend, made.base, stored.hash, tokenizer, base.max_model_len, stored.hash
        )

    def _check(self, stored: StoredModel, *, weights: bool) -> None:
        """Check that a model has not changed since it was stored; each content is checked once."""
        if stored.hash not in self._checked:
            check_contract(stored, recipe_of(stored), weights=weights)
            self._checked.add(stored.hash)

    def _alone(self, name: str, reference: str, known: str) -> Served:
        """A whole model; `known` is its name where others see it."""
        base = self._bases.get(reference)
        return Served(name, base.backend, known, "", base.tokenizer, base.max_model_len)

    def _stored(self, name: str) -> StoredModel:
        base, at, adapter = name.rpartition("@")
        try:
            return self._store.get(name)
        except NotFoundError:
            if not at:
                raise
        stored = self._store.get(adapter)
        if stored.manifest.base != base:
            raise NotFoundError(
                f"'{adapter}' is an adapter of {stored.manifest.base}, not of {base}",
                fix=f"Ask for {adapter}.",
            )
        return stored

    def _adapted(self, base: LoadedModel, stored: StoredModel) -> Any:
        key = stored.manifest.base, stored.hash
        if known := self._adapters.get(key):
            return known
        with self._turn:
            if key not in self._adapters:
                self._check(stored, weights=base.is_local)
                base.backend.add_adapter(stored.hash, stored.folder)
                self._adapters[key] = load_tokenizer(str(stored.folder))
            return self._adapters[key]


def _writes_here(reference: str) -> bool:
    """Whether a reference names weights that run on this machine and generate text."""
    if not reference or not runs_locally(reference):
        return False
    if is_gguf(reference):
        return True
    try:
        return is_decoder(load_config(reference))
    except MoliError:
        return False
