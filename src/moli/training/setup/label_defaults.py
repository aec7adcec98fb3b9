"""Defaults of a classification recipe that depend on its texts and labels."""

from __future__ import annotations

import math
import unicodedata
from collections.abc import Sequence

from moli.models.weights.known import installed_folder
from moli.records.examples import Example
from moli.training.recipes.recipe import Recipe
from moli.training.recipes.task_table import NGRAMS

_ENGLISH_BASE = "builtin:minilm"
MULTILINGUAL_BASE = "e5"
_TEXTS = 200  # whose letters are counted
_MAX_FOREIGN = 0.3  # share of letters in other scripts up to which the encoder reads a language
# Epochs fall with the square root of the examples per class: 10 for 40, 3 for 500, 1 for 2,000.
_EPOCHS_FOR_ONE, _MAX_EPOCHS = 65.0, 10
_PATIENCE = 3


def needs_defaults(recipe: Recipe) -> bool:
    """Whether a recipe leaves open what its examples decide."""
    return recipe.task == "classification" and (not recipe.base or recipe.epochs is None)


def with_label_defaults(recipe: Recipe, examples: Sequence[Example]) -> Recipe:
    """The recipe with a base, a method, epochs and patience that suit its training examples.

    Values that it has are kept.
    """
    base = recipe.base or choose_base([example.model_input for example in examples])
    if base == MULTILINGUAL_BASE and recipe.method is None:
        # Most of its weights are the embeddings of 94 languages, of which a data set has a few.
        recipe = recipe.model_copy(update={"method": "lora"})
    if recipe.epochs is not None or base == NGRAMS:
        return recipe.model_copy(update={"base": base})
    classes = {label for example in examples for label in example.class_labels}
    epochs = 1.0 if base == "new" else choose_epochs(len(examples), len(classes))
    patience = _PATIENCE if recipe.patience is None else recipe.patience
    return recipe.model_copy(update={"base": base, "epochs": epochs, "patience": patience})


def choose_base(texts: Sequence[str]) -> str:
    """The base for texts by their script: the built-in encoder reads English.

    For other scripts it is the multilingual encoder, where it is on this machine.
    """
    if not is_foreign(texts):
        return _ENGLISH_BASE
    return MULTILINGUAL_BASE if installed_folder(MULTILINGUAL_BASE) else NGRAMS


def is_foreign(texts: Sequence[str]) -> bool:
    """Whether texts have too many letters of other scripts for the built-in encoder."""
    letters = [letter for text in texts[:_TEXTS] for letter in text[:1000] if letter.isalpha()]
    foreign = sum("LATIN" not in unicodedata.name(letter, "") for letter in letters)
    return foreign > _MAX_FOREIGN * len(letters)


def choose_epochs(examples: int, classes: int) -> float:
    """Passes over the data: many if there are few examples for each class."""
    per_class = examples / max(classes, 1)
    return float(min(max(round(_EPOCHS_FOR_ONE / math.sqrt(max(per_class, 1))), 1), _MAX_EPOCHS))
