"""Models that a server embeds and reranks texts with: its encoder, and models trained here.

An encoder embeds each text; a reranking model reads a query and a text together. A name is looked
up in the workspace at every request, so an alias that was moved is served by its new target from
then on.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from moli.models.protocols.encoder import Encoder, Role
from moli.records.errors import InputError, NotFoundError
from moli.records.examples import Example, Labelled, MultiLabelled, Scored, Text
from moli.serving.concurrency import Steps
from moli.workspace import Workspace
from moli.workspace.content import StoredModel

if TYPE_CHECKING:
    from moli.training.trained.load import TrainedModel

MAX_LOADED = 4  # trained models in memory at once
_EMBEDDING, _RERANKING = "embedding", "reranking"
_CLASSIFICATION = ("classification", "multi_label_classification")
# Texts that a step reads: enough for every core, and over in a moment.
_TEXTS_PER_STEP = 8 * (os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class EncodedTexts:
    """Texts as vectors.

    Attributes:
        model: name of the model that encoded them.
        vectors: unit vectors, [texts, dimensions].
        tokens: number of tokens that the model read, after truncation.
    """

    model: str
    vectors: NDArray[np.float32]
    tokens: int


@dataclass(frozen=True, slots=True)
class RelevanceScores:
    """Scores for how well texts answer a query.

    Attributes:
        model: name of the model that scored them.
        scores: cosines of an encoder, or probabilities of a reranking model, [texts].
        tokens: number of tokens that the model read; a reranking model reads the query once for
            each text.
    """

    model: str
    scores: NDArray[np.float64]
    tokens: int


@dataclass(frozen=True, slots=True)
class ClassifiedTexts:
    """Labels of texts.

    Attributes:
        rows: for each text its label with its probability, or its labels, and the likeliest ones.
        tokens: number of tokens that the model read.
    """

    rows: list[dict[str, Any]]
    tokens: int


@dataclass(frozen=True, slots=True)
class _ModelOutput:
    """Output of a trained model.

    Attributes:
        rows: a row for each example.
        tokens: number of tokens that the model read.
    """

    rows: NDArray[np.float32]
    tokens: int


class Encoders:
    """The encoder of a workspace's settings, and its trained models for embedding and reranking.

    Its work comes in steps, each of a few texts, so that requests can take turns and end when
    their clients leave. One thread at a time may take a step: the check whether samples may be
    packed changes a model for a moment, and a single forward pass takes all cores anyway.

    Trained models are loaded on first use; if there are more than `MAX_LOADED`, the least recently
    used one is dropped.

    Args:
        encoder: the encoder of the settings, loaded.
    """

    def __init__(self, workspace: Workspace, encoder: Encoder) -> None:
        self._store = workspace.models
        self._encoder = encoder
        self._loaded: OrderedDict[str, TrainedModel] = OrderedDict()  # by hash, last used last

    def encode(self, model: str, texts: Sequence[str], role: Role) -> Steps[EncodedTexts]:
        """Encode texts as vectors.

        Args:
            model: alias or hash of a model for embedding; "" or its reference for the encoder of
                the settings.
            role: decides the encoder's prompt; models trained here have none.

        Raises:
            NotFoundError: there is no such model.
            InputError: it is for another task, or several models fit a hash.
            ModelError: it cannot be loaded, or has changed since it was stored.
        """
        return (yield from self._encode_with(model, self._find(model, _EMBEDDING), texts, role))

    def score(self, model: str, query: str, texts: Sequence[str]) -> Steps[RelevanceScores]:
        """Score how well texts answer a query.

        Args:
            model: alias or hash of a model for reranking, or a model for `encode`.

        Raises:
            NotFoundError, InputError, ModelError: for the reasons that `encode` has.
        """
        stored = self._find(model, _RERANKING, _EMBEDDING)
        if stored and stored.manifest.task == _RERANKING:
            output = yield from self._run(stored, [Scored(query, each, 0.0) for each in texts])
            probabilities = 1 / (1 + np.exp(-output.rows.astype(np.float64)))
            return RelevanceScores(model, probabilities, output.tokens)
        encoded_query = yield from self._encode_with(model, stored, [query], "query")
        encoded = yield from self._encode_with(model, stored, texts, "passage")
        cosines = encoded.vectors.astype(np.float64) @ encoded_query.vectors[0].astype(np.float64)
        return RelevanceScores(encoded.model, cosines, encoded_query.tokens + encoded.tokens)

    def classify(self, model: str, texts: Sequence[str], count: int) -> Steps[ClassifiedTexts]:
        """Classify texts.

        Args:
            model: alias, `base@adapter` or hash of a model for classification.
            count: number of labels to return for each text, likeliest first.

        Raises:
            NotFoundError, InputError, ModelError: for the reasons that `encode` has.
        """
        from moli.training.tasks.base.labels import TaskWithLabels

        stored = self._find(model, *_CLASSIFICATION)
        if stored is None:
            raise InputError(
                f"'{model}' encodes texts and has no classes",
                where="model",
                fix="Train one with 'moli tune' and task: classification.",
            )
        examples: list[Example] = [
            Labelled(text, "")
            if stored.manifest.task == _CLASSIFICATION[0]
            else MultiLabelled(text, ())
            for text in texts
        ]
        output = yield from self._run(stored, examples)
        task = self._load(stored).task
        if not isinstance(task, TaskWithLabels):
            raise TypeError(f"{stored.manifest.task} has no labels")
        answers = output.rows.reshape(len(texts), len(task.labels))
        rows = [task.label_row(answer, count) for answer in answers]
        return ClassifiedTexts(rows, output.tokens)

    def classifiers(self) -> list[StoredModel]:
        """The classifiers that `classify` can name by an alias."""
        stored = self._store.list()
        return [each for each in stored if each.aliases and each.manifest.task in _CLASSIFICATION]

    def _encode_with(
        self, name: str, stored: StoredModel | None, texts: Sequence[str], role: Role
    ) -> Steps[EncodedTexts]:
        """Encode texts with a trained model, or with None the encoder of the settings."""
        if stored is not None:
            output = yield from self._run(stored, [Text(each) for each in texts])
            return EncodedTexts(name, unit_vectors(output.rows), output.tokens)
        vectors = np.empty((len(texts), self._encoder.dimensions), np.float32)
        tokens = 0
        for rows in _portions([len(each) for each in texts]):
            portion = [texts[row] for row in rows]
            vectors[rows] = self._encoder.encode(portion, role)
            tokens += self._encoder.tokens(portion, role)
            yield
        return EncodedTexts(self._encoder.name, unit_vectors(vectors), tokens)

    def _find(self, name: str, *tasks: str) -> StoredModel | None:
        """The trained model with a name, for one of the tasks; None for the settings' encoder."""
        from moli.training.trained.names import find_stored  # it imports torch

        if name in ("", self._encoder.name):
            return None
        try:
            stored = find_stored(self._store, name)
        except NotFoundError as error:
            raise NotFoundError(error.what, "model", self._suggest(tasks)) from error
        if stored.manifest.task not in tasks:
            raise InputError(
                f"'{name}' was trained for {stored.manifest.task}, not for {' or '.join(tasks)}",
                where="model",
                fix=self._suggest(tasks),
            )
        return stored

    def _suggest(self, tasks: Sequence[str]) -> str:
        """Names of the models for some tasks, in a sentence for an error."""
        models = [each for each in self._store.list() if each.manifest.task in tasks]
        encoders = [] if tasks == _CLASSIFICATION else [self._encoder.name]
        names = [*encoders, *(alias for each in models for alias in each.aliases)]
        train = f"rain one with 'moli tune' and task: {tasks[0]}."
        return f"Ask for {' or '.join(names)}, or t{train}" if names else f"T{train}"

    def _run(self, stored: StoredModel, examples: Sequence[Example]) -> Steps[_ModelOutput]:
        """Run a trained model on examples."""
        from moli.training import inference

        groups = self._load(stored).task.samples(examples, training=False)
        sizes = [sum(each.size for each in group) for group in groups]
        packed = self._load(stored).should_pack([each for group in groups for each in group])
        rows: dict[int, NDArray[np.float32]] = {}  # by the index of the example
        for indices in _portions(sizes):
            trained = self._load(stored)  # others may have had their turn, and displaced it
            portion = [groups[index] for index in indices]
            outcome = inference.run_inference(
                trained.task, trained.model, portion, packed=packed, with_losses=False
            )
            for index, answers in zip(indices, outcome.answers, strict=True):
                rows[index] = np.concatenate(answers)
            yield
        return _ModelOutput(np.concatenate([rows[n] for n in range(len(rows))]), sum(sizes))

    def _load(self, stored: StoredModel) -> TrainedModel:
        """Load a trained model, unless it is in memory."""
        from moli.training.trained.load import load_trained

        if stored.hash not in self._loaded:
            while len(self._loaded) >= MAX_LOADED:  # before, so that there is room for the new one
                self._loaded.popitem(last=False)
            self._loaded[stored.hash] = load_trained(stored)
        self._loaded.move_to_end(stored.hash)
        return self._loaded[stored.hash]


def _portions(sizes: Sequence[int]) -> Iterator[list[int]]:
    """Indices of the texts of each step; texts of similar size are read together."""
    order = sorted(range(len(sizes)), key=sizes.__getitem__)
    for start in range(0, len(order), _TEXTS_PER_STEP):
        yield order[start : start + _TEXTS_PER_STEP]


def unit_vectors(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows scaled to length 1; a row of zeros stays unchanged."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: NDArray[np.float32] = vectors / np.maximum(lengths, np.float32(1e-12))
    return scaled
