"""Simple classifiers to compare a run with, measured on its held-out examples."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray

from moli.records.examples import Labelled
from moli.training.data import examples_of
from moli.training.optimization.logistic import fit_logistic
from moli.training.setup.prepared import PreparedRun
from moli.training.tasks.base.labels import LabelTask
from moli.training.tasks.base.ngrams import MAX_WEIGHTS, NgramVocabulary

_MAX_CHARACTERS = 1_000_000  # of training texts: seconds, however many there are
_STRENGTH = 10.0  # of the penalty's inverse: between few classes and many


def measure_baselines(prepared: PreparedRun) -> dict[str, float]:
    """The main metric of the most common label, and of logistic regression on n-grams.

    Both are evaluated on the run's evaluation examples. Empty for other tasks than classification
    of texts, and without such examples.
    """
    task, data = prepared.task, prepared.data
    if not isinstance(task, LabelTask):
        return {}
    train = [each for each in examples_of(data.examples.train) if isinstance(each, Labelled)]
    evaluated = [each.example for each in data.evaluation_examples]
    held_out = [each for each in evaluated if isinstance(each, Labelled)]
    if not held_out or not train:
        return {}
    most_common = Counter(example.label for example in train).most_common(1)[0][0]
    constant = np.eye(len(task.labels), dtype=np.float32)[task.label_ids[most_common]]
    answers = {
        "majority": [constant] * len(held_out),
        "tf-idf": _ngram_answers(task, _draw(train, task.recipe.seed), held_out),
    }
    return {
        name: round(task.metrics(scores, held_out)[task.metric], 4)
        for name, scores in answers.items()
    }


def _ngram_answers(
    task: LabelTask, train: Sequence[Labelled], held_out: Sequence[Labelled]
) -> list[NDArray[np.float32]]:
    """The probabilities that logistic regression on TF-IDF vectors gives to each label."""
    texts = [example.text for example in train]
    vocabulary = NgramVocabulary.of(texts, MAX_WEIGHTS // len(task.labels))
    train_ids, held_out_ids = (
        [vocabulary.ids_of(example.text) for example in part] for part in (train, held_out)
    )
    targets = torch.tensor([task.label_ids[example.label] for example in train])
    fitted = fit_logistic(
        vocabulary.vectors_of(train_ids), targets, len(task.labels), strength=_STRENGTH
    )
    return list(torch.softmax(fitted.logits(vocabulary.vectors_of(held_out_ids)), -1).numpy())


def _draw(examples: Sequence[Labelled], seed: int) -> list[Labelled]:
    """All examples, or as many as have `_MAX_CHARACTERS` characters, in a random order."""
    order = list(examples)
    random.Random(seed).shuffle(order)  # noqa: S311 - no secret
    characters = 0
    for count, example in enumerate(order, start=1):
        characters += len(example.text)
        if characters >= _MAX_CHARACTERS:
            return order[:count]
    return order
