"""The models that a server compares texts with: its encoder, and those that were trained here.

An encoder makes a vector of each text; a reranking model reads a query and a text together. A name
is looked up in the workspace at every request, so an alias that is moved is served by what it
points at from then on.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from moli.models.protocols.encoder import Encoder
from moli.records.errors import InputError, NotFoundError
from moli.records.examples import Example, Scored, Text
from moli.serving.turns import Turns
from moli.workspace import Workspace
from moli.workspace.content import StoredModel

if TYPE_CHECKING:
    from moli.training.trained.load import Trained

KEPT = 4  # trained models in memory at once
_EMBEDDING, _RERANKING = "embedding", "reranking"


@dataclass(frozen=True, slots=True)
class Encoded:
    """Texts as vectors.

    Attributes:
        model: the one that made them, by the name it was asked for.
        vectors: their unit vectors, [texts, dimensions].
        tokens: how many it read; what was too long for it is not counted.
    """

    model: str
    vectors: NDArray[np.float32]
    tokens: int


@dataclass(frozen=True, slots=True)
class Judged:
    """How well texts answer a query.

    Attributes:
        model: the one that judged, by the name it was asked for.
        scores: cosines of an encoder, or probabilities of a reranking model, [texts].
        tokens: how many it read; a reranking model reads the query with each text anew.
    """

    model: str
    scores: NDArray[np.float64]
    tokens: int


class Encoders:
    """The encoder of a workspace's settings, and its models for embedding and reranking.

    Many threads may ask at once. Trained models are loaded when they are first asked for; of more
    than `KEPT`, the one that has gone unused the longest is dropped.

    Args:
        encoder: the one in the settings, loaded.
    """

    def __init__(self, workspace: Workspace, encoder: Encoder) -> None:
        self._store = workspace.models
        self._encoder = encoder
        self._kept: OrderedDict[str, Trained] = OrderedDict()  # by content, the last used last
        # One thread at a time: proving that samples may be packed changes a model for a moment,
        # and a single forward pass takes all cores anyway.
        self._turn = threading.Lock()
        self._turns = Turns(workspace.settings.queue)

    def encode(self, model: str, texts: Sequence[str]) -> Encoded:
        """Make vectors of texts.

        Args:
            model: an alias or hash of a model for embedding; "" or its reference: the encoder of
                the settings.

        Raises:
            NotFoundError: there is no such model.
            InputError: it is for something else, or several models fit a hash.
            BusyError: too many wait for trained models.
            ModelError: it cannot be loaded, or has changed since it was stored.
        """
        return self._encoded(model, self._stored(model, _EMBEDDING), texts)

    def judge(self, model: str, query: str, texts: Sequence[str]) -> Judged:
        """Score how well each of some texts answers a query.

        Args:
            model: as for `encode`, or an alias or hash of a model for reranking.

        Raises:
            NotFoundError, InputError, ModelError: as `encode` does.
        """
        stored = self._stored(model, _RERANKING, _EMBEDDING)
        if stored and stored.manifest.task == _RERANKING:
            scores, tokens = self._read(stored, [Scored(query, each, 0.0) for each in texts])
            return Judged(model, 1 / (1 + np.exp(-scores.astype(np.float64))), tokens)
        encoded = self._encoded(model, stored, [query, *texts])
        vectors = encoded.vectors.astype(np.float64)
        return Judged(encoded.model, vectors[1:] @ vectors[0], encoded.tokens)

    def _encoded(self, model: str, stored: StoredModel | None, texts: Sequence[str]) -> Encoded:
        if stored is None:
            model, tokens = self._encoder.name, self._encoder.tokens(texts)
            vectors = self._encoder.encode(texts)
        else:
            vectors, tokens = self._read(stored, [Text(each) for each in texts])
        return Encoded(model, unit(vectors), tokens)

    def _stored(self, name: str, *tasks: str) -> StoredModel | None:
        """The model of a name, if it is of one of the tasks; None for the settings' encoder."""
        if name in ("", self._encoder.name):
            return None
        try:
            stored = self._store.get(name)
        except NotFoundError as error:
            raise NotFoundError(error.what, error.where, self._choice(tasks)) from error
        if stored.manifest.task not in tasks:
            raise InputError(
                f"'{name}' is a model for {stored.manifest.task}, but one for "
                f"{' or '.join(tasks)} is needed",
                fix=self._choice(tasks),
            )
        return stored

    def _choice(self, tasks: Sequence[str]) -> str:
        fitting = [each for each in self._store.list() if each.manifest.task in tasks]
        names = [self._encoder.name, *(alias for each in fitting for alias in each.aliases)]
        return f"Ask for {' or '.join(names)}, or train one with 'moli tune' and task: {tasks[0]}."

    def _read(
        self, stored: StoredModel, examples: Sequence[Example]
    ) -> tuple[NDArray[np.float32], int]:
        """What a trained model makes of examples, a row for each, and the tokens that it read."""
        from moli.training import inference

        with self._turns.one(), self._turn:
            trained = self._trained(stored)
            groups = trained.task.samples(examples, training=False)
            samples = [each for group in groups for each in group]
            packed = trained.pack(samples)
            task, model = trained.task, trained.model
            outcome = inference.run_inference(task, model, groups, packed=packed, with_losses=False)
        rows = [row for answers in outcome.answers for row in answers]
        return np.concatenate(rows), sum(each.size for each in samples)

    def _trained(self, stored: StoredModel) -> Trained:
        from moli.training.trained.load import load_trained

        if stored.hash not in self._kept:
            while len(self._kept) >= KEPT:  # before, so that there is room for the new one
                self._kept.popitem(last=False)
            self._kept[stored.hash] = load_trained(stored)
        self._kept.move_to_end(stored.hash)
        return self._kept[stored.hash]


def unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows scaled to length 1; one of zeros stays as it is."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = vectors / np.maximum(lengths, np.float32(1e-12))
    return scaled
