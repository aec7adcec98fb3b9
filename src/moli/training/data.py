"""A run's examples: read, validated and split without leakage."""

from __future__ import annotations

import os
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from moli.models.weights.hashes import hash_file, hash_files
from moli.records.errors import InputError
from moli.records.examples import (
    Example,
    Labelled,
    LabelledImage,
    Located,
    Malformed,
    Match,
    Pair,
    Span,
)
from moli.training.recipes.recipe import Recipe
from moli.workspace.datasets import Dataset, read_dataset

# Above this share of malformed rows it is the data set that is wrong, not a row.
_TOLERATED = 0.01
_MOST_HELD_OUT = 2000


@dataclass(frozen=True, slots=True)
class Data:
    """What a run is trained on and evaluated on.

    Attributes:
        malformed: rows of both that are not examples.
        digest: SHA-256 of the files, and of the images that they name.
        taken_out: training examples that were also held out, and so removed: where each was, and
            where its held-out copy is.
    """

    train: tuple[Located, ...]
    held_out: tuple[Located, ...]
    malformed: tuple[Malformed, ...]
    digest: str
    taken_out: tuple[tuple[str, str], ...] = ()

    @property
    def overlap(self) -> int:
        return len(self.taken_out)


def read_data(recipe: Recipe, accepts: tuple[type, ...]) -> Data:
    """The examples that a recipe names.

    An example that is in both parts is removed from the training part: a model must not be
    evaluated on what it has seen.

    Raises:
        InputError: nothing can be read, or it is not the kind of example that the task learns from.
    """
    dataset = read_dataset(recipe.data, columns=recipe.columns)
    check_dataset(dataset, recipe, accepts)
    examples, malformed, files = dataset.examples, dataset.malformed, _files(recipe.data)
    taken_out: tuple[tuple[str, str], ...] = ()
    if isinstance(recipe.held_out, Path):
        other = read_dataset(recipe.held_out, columns=recipe.columns)
        check_dataset(other, recipe, accepts)
        held_out = other.examples
        kept, taken_out = _apart(examples, held_out)
        examples, malformed = examples + held_out, malformed + other.malformed
        files += _files(recipe.held_out)
    else:
        kept, held_out = split(examples, recipe.held_out, recipe.seed)
    if not kept:
        raise InputError(
            "no training examples are left", where=str(recipe.data), fix="Add examples."
        )
    pictures = [e.example.path for e in examples if isinstance(e.example, LabelledImage)]
    return Data(kept, held_out, malformed, _digest([*files, *pictures]), taken_out)


def _apart(
    train: Sequence[Located], held_out: Sequence[Located]
) -> tuple[tuple[Located, ...], tuple[tuple[str, str], ...]]:
    """Training examples that are not held out; of the others, where each is and where its copy."""
    judged = {content(each.example): each.where for each in held_out}
    keyed = [(content(each.example), each) for each in train]
    taken_out = tuple((each.where, judged[key]) for key, each in keyed if key in judged)
    return tuple(each for key, each in keyed if key not in judged), taken_out


def split(
    examples: Sequence[Located], share: float, seed: int
) -> tuple[tuple[Located, ...], tuple[Located, ...]]:
    """Two parts, the second with about `share` of the examples.

    Examples about the same text are on the same side: a model that has seen a text knows more
    about other questions on it than about any others.
    """
    if not 0 <= share < 1:
        raise InputError(
            f"'held_out' is {share}", where="recipe", fix="Give a share below 1, or a file."
        )
    # Not sets: their order is another in each process.
    alike: dict[object, dict[object, Located]] = {}
    keyed = [(content(each.example), each) for each in examples]
    for key, each in keyed:
        alike.setdefault(_subject(each.example), {})[key] = each
    subjects = list(alike)
    random.Random(seed).shuffle(subjects)  # noqa: S311 - for a split, not for a secret
    count = min(round(share * sum(map(len, alike.values()))), _MOST_HELD_OUT)
    judged: dict[object, Located] = {}
    for subject in subjects[:-1]:  # one is left to learn from
        if len(judged) >= count:
            break
        judged |= alike[subject]
    return tuple(each for key, each in keyed if key not in judged), tuple(judged.values())


def _subject(example: Example) -> object:
    """What an example is about: the text or picture that others may be about as well."""
    match example:
        case Span():
            return example.context
        case Match():
            return example.query
        case Labelled():
            return example.text
        case Pair():
            return example.source or example.target
        case LabelledImage():
            return image_hash(example)
        case _:
            return example


def content(example: Example) -> object:
    """What makes two examples the same one: of an image its bytes, not the name of its file."""
    if isinstance(example, LabelledImage):
        return image_hash(example), example.label
    return example


def image_hash(image: LabelledImage) -> str:
    """What an image shows, by its bytes; of a file that cannot be read, by its name."""
    try:
        return hash_file(image.path).hex()
    except OSError:
        return str(image.path)


def check_dataset(dataset: Dataset, recipe: Recipe, accepts: tuple[type, ...]) -> None:
    """Check that a data set can be trained or evaluated on.

    Raises:
        InputError: too many rows are malformed, or one is another kind of example.
    """
    rows = len(dataset.examples) + len(dataset.malformed)
    if len(dataset.malformed) > max(1, _TOLERATED * rows) or not dataset.examples:
        shown = "\n  ".join(map(str, dataset.malformed[:5]))
        raise InputError(
            f"{len(dataset.malformed)} of {rows} rows are malformed:\n  {shown}\n ",
            where=str(dataset.path),
            fix="Correct them; 'moli tune --check' lists them all.",
        )
    first = dataset.examples[0]
    if not isinstance(first.example, accepts):
        wanted = " or ".join(each.__name__.lower() for each in accepts)
        raise InputError(
            f"the rows are {type(first.example).__name__.lower()} examples, but "
            f"the task {recipe.task} needs {wanted} examples",
            where=first.where,
            fix="Choose another task, or map the columns with 'columns'.",
        )
    for each in dataset.examples:
        if not isinstance(each.example, accepts):
            raise InputError(
                "this row is a different kind of example from the first",
                where=each.where,
                fix="Keep each kind in its own data set.",
            )


def _files(path: Path) -> list[Path]:
    return sorted(each for each in path.rglob("*") if each.is_file()) if path.is_dir() else [path]


def _digest(files: Sequence[Path]) -> str:
    """Of all that can be read; what cannot is told where it is needed."""
    return hash_files(each for each in files if os.access(each, os.R_OK))


def examples_of(located: Sequence[Located]) -> list[Example]:
    """Examples without where they came from."""
    return [each.example for each in located]
