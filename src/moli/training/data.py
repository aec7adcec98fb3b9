"""The examples of a run: read, validated, and split without leakage."""

from __future__ import annotations

import os
import random
from collections import Counter
from collections.abc import Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from moli.records.errors import InputError
from moli.records.examples import (
    Example,
    Labelled,
    LabelledImage,
    LabelledPair,
    LocatedExample,
    MalformedRow,
    MultiLabelled,
    Preference,
    RatedAnswer,
    Span,
    UnreadLines,
)
from moli.records.hashing import hash_files
from moli.training.recipes.recipe import Paths, Recipe
from moli.training.recipes.task_table import TaskName
from moli.workspace.datasets import Dataset, Part, Row, expand_paths, read_dataset, read_splits
from moli.workspace.datasets.folders import choose_split
from moli.workspace.datasets.labels import split_labels, with_one_spelling

# Above this share of malformed rows it is the data set that is wrong, not a row.
_MAX_MALFORMED = 0.01
_MAX_HELD_OUT = 2000
# The tasks of those kinds of examples that few tasks read.
_TASKS_OF: Mapping[type[Example], tuple[TaskName, ...]] = {
    Labelled: ("classification",),
    LabelledImage: ("image",),
    LabelledPair: ("pair_classification",),
    MultiLabelled: ("multi_label_classification",),
    Preference: ("dpo", "reward"),
    RatedAnswer: ("kto", "reward"),
    Span: ("span",),
}
_LABELS_SHOWN = 10  # in a message


@dataclass(frozen=True, slots=True)
class RemovedExample:
    """A training example that was removed because it was also held out.

    Attributes:
        where: the origin of the training example.
        held_out_where: the origin of its held-out duplicate.
    """

    where: str
    held_out_where: str


@dataclass(frozen=True, slots=True)
class TrainingData:
    """The examples that a run is trained on and those that it is evaluated on.

    Attributes:
        malformed: rows of the training and the held-out data that could not be read as examples.
        unread: lines of both that are no rows, because of a fault before them.
        digest: SHA-256 of the data files and of the images that they refer to.
        removed: training examples that were also held out.
        rows: number of rows in the data files, lines that are no rows included.
        unused: names of columns of the training data that are not read.
        unread_splits: names of splits in the file of the data that are not read.
    """

    train: tuple[LocatedExample, ...]
    held_out: tuple[LocatedExample, ...]
    malformed: tuple[MalformedRow, ...]
    digest: str
    removed: tuple[RemovedExample, ...] = ()
    unread: tuple[UnreadLines, ...] = ()
    rows: int = 0
    unused: tuple[str, ...] = ()
    unread_splits: tuple[str, ...] = ()


def read_data(recipe: Recipe, example_types: tuple[type[Example], ...]) -> TrainingData:
    """The examples that a recipe names.

    An example that is in both parts is removed from the training part: a model must not be
    evaluated on an example that it was trained on.

    Args:
        example_types: the kinds of example that the task is trained on.

    Raises:
        InputError: nothing can be read, or the examples are of another kind.
    """
    splits = read_splits(recipe.data) if isinstance(recipe.data, Path) else {}
    rows = splits.get(choose_split(splits, "training"))
    dataset = read_part(recipe, recipe.data, "training", example_types, rows)
    examples, datasets = examples_with_labels(dataset, recipe), [dataset]
    files = data_files(recipe.data)
    held_out_paths = _held_out_paths(recipe, splits)
    if held_out_paths is not None:
        own = splits if held_out_paths == recipe.data else {}
        rows = own.get(choose_split(own, "held_out"))
        other = read_part(recipe, held_out_paths, "held_out", example_types, rows)
        known = {label for located in examples for label in located.example.class_labels}
        candidates, held_out = examples, examples_with_labels(other, recipe, sorted(known))
        datasets.append(other)
        files += data_files(held_out_paths)
    else:
        assert isinstance(recipe.held_out, int | float)  # noqa: S101 - for the type checker
        held_out = split(examples, recipe.held_out, recipe.seed)[1]
        locations = {located.where for located in held_out}
        candidates = tuple(each for each in examples if each.where not in locations)
    train, removed = _without_duplicates(candidates, held_out)
    if not train:
        raise InputError(
            f"no training examples are left: all {len(removed):,} are held out as well",
            where=recipe.data_name,
            fix=f"Hold out other examples than {recipe.held_out}, or a share, as held_out: 0.1.",
        )
    for part in datasets:
        files += [path for located in part.examples for path in located.example.files]
    return TrainingData(
        train,
        held_out,
        tuple(row for each in datasets for row in each.malformed),
        _digest(files),
        removed,
        tuple(lines for each in datasets for lines in each.unread),
        sum(each.row_count for each in datasets),
        dataset.unused,
        _unread_splits(splits, holds_out=held_out_paths == recipe.data),
    )


def examples_with_labels(
    dataset: Dataset, recipe: Recipe, known: Iterable[str] = ()
) -> tuple[LocatedExample, ...]:
    """The examples of a data set, with their labels split and spelled alike.

    Args:
        known: labels in the spelling of the training data or of a model.
    """
    return with_one_spelling(split_labels(dataset.examples, recipe.label_separator), known)


def read_part(
    recipe: Recipe,
    paths: Paths,
    part: Part,
    example_types: tuple[type[Example], ...],
    rows: Sequence[Row | MalformedRow] | None = None,
) -> Dataset:
    """One part of a recipe's data, of which the rows can be trained or evaluated on.

    Args:
        rows: the rows of this part, if they are read already.
    """
    dataset = read_dataset(
        paths, columns=recipe.columns, roles=recipe.roles, kinds=example_types, part=part, rows=rows
    )
    advice = "Correct them; 'moli tune --check' lists them all."
    check_dataset(dataset, recipe, example_types, fix=advice)
    return dataset


def _held_out_paths(recipe: Recipe, splits: Collection[str]) -> Paths | None:
    """The files with the held-out examples; None if they are a share of the training data.

    Args:
        splits: names of the splits in the file of the data, one of which is held out.
    """
    return recipe.held_out_paths or (recipe.data if recipe.held_out and splits else None)


def _unread_splits(splits: Collection[str], *, holds_out: bool) -> tuple[str, ...]:
    """Names of the splits of a file that serve neither to train nor, if one does, to hold out."""
    used = {choose_split(splits, "training"), choose_split(splits, "held_out") if holds_out else ""}
    return tuple(name for name in splits if name not in used)


def _without_duplicates(
    train: Sequence[LocatedExample], held_out: Sequence[LocatedExample]
) -> tuple[tuple[LocatedExample, ...], tuple[RemovedExample, ...]]:
    """Take those examples out of the training part that are in the held-out part as well.

    Returns:
        The training examples that are left, and those that were removed.
    """
    held_out_where = {located.example.identity: located.where for located in held_out}
    keyed = [(located.example.identity, located) for located in train]
    kept = tuple(located for key, located in keyed if key not in held_out_where)
    removed = tuple(
        RemovedExample(located.where, held_out_where[key])
        for key, located in keyed
        if key in held_out_where
    )
    return kept, removed


def split(
    examples: Sequence[LocatedExample], amount: float, seed: int
) -> tuple[tuple[LocatedExample, ...], tuple[LocatedExample, ...]]:
    """Split examples into a training part and a held-out part.

    Args:
        amount: the share of the examples to hold out if it is below 1; else about their number.

    Examples about the same text or image (`Example.subject`), such as several questions on one
    text, are all in the same part. Of equal examples in the held-out part, only one is kept. Each
    class has about the same share of both parts, and none is in the held-out part alone.

    Returns:
        The training part and the held-out part.

    Raises:
        InputError: there are not more examples than are to be held out.
    """
    # Not sets: their order differs from process to process.
    by_subject: dict[Hashable, dict[Hashable, LocatedExample]] = {}
    keyed = [(located.example.identity, located) for located in examples]
    for key, located in keyed:
        by_subject.setdefault(located.example.subject, {})[key] = located
    classes = {subject: _classes_of(group.values()) for subject, group in by_subject.items()}
    left = Counter(name for names in classes.values() for name in names)  # subjects to train on
    distinct = sum(map(len, by_subject.values()))
    if amount >= max(1, distinct):
        raise InputError(
            f"'held_out' is {amount}, but there are only {distinct:,} different examples",
            where="recipe",
            fix="Give a smaller number, or a share, as held_out: 0.1.",
        )
    count = amount if amount >= 1 else min(round(amount * distinct), _MAX_HELD_OUT)
    held_out: dict[Hashable, LocatedExample] = {}
    for subject in _stratified(classes, left, random.Random(seed)):  # noqa: S311 - no secret
        if len(held_out) >= count:
            break
        if all(left[name] > 1 for name in classes[subject]):
            held_out |= by_subject[subject]
            left.subtract(classes[subject])
    train = tuple(located for key, located in keyed if key not in held_out)
    return train, tuple(held_out.values())


def _classes_of(group: Iterable[LocatedExample]) -> list[str]:
    """The classes of some examples; examples of a kind without classes are all of one class."""
    return sorted({name for located in group for name in located.example.class_labels or ("",)})


def _stratified(
    classes: Mapping[Hashable, list[str]], sizes: Mapping[str, int], draw: random.Random
) -> list[Hashable]:
    """Subjects in a random order, in which each class is spread evenly.

    The k-th of n subjects of a class comes at a random point of the k-th of n equal parts. Of
    several classes the rarest decides.

    Args:
        classes: the classes of each subject.
        sizes: number of subjects of each class.
    """
    subjects = list(classes)
    draw.shuffle(subjects)
    ranks: Counter[str] = Counter()
    position: dict[Hashable, float] = {}
    for subject in subjects:
        rarest = min(classes[subject], key=lambda name: (sizes[name], name))
        position[subject] = (ranks[rarest] + draw.random()) / sizes[rarest]
        ranks[rarest] += 1
    return sorted(subjects, key=position.__getitem__)


def check_dataset(
    dataset: Dataset, recipe: Recipe, example_types: tuple[type[Example], ...], *, fix: str
) -> None:
    """Check that a data set can be trained or evaluated on.

    Args:
        fix: what to do about malformed rows.

    Raises:
        InputError: too many rows are malformed, or one is an example of another kind.
    """
    faults = (*dataset.unread, *dataset.malformed)
    lost, rows = dataset.unread_lines + len(dataset.malformed), dataset.row_count
    if lost > max(1, _MAX_MALFORMED * rows) or not dataset.examples:
        shown = "\n  ".join(map(str, faults[:5]))
        what = "malformed" if not dataset.unread else "malformed or cannot be read"
        raise InputError(
            f"{lost:,} of {rows:,} rows are {what}:\n  {shown}\n ",
            where=str(dataset.path),
            fix=fix,
        )
    for located in dataset.examples:
        if not isinstance(located.example, example_types):
            needed = " or ".join(each.plural for each in example_types)
            tasks = _TASKS_OF.get(type(located.example), ())
            advice = f"Use task: {' or '.join(tasks)}" if tasks else "Choose another task"
            raise InputError(
                f"the rows are {located.example.plural}, but the task {recipe.task} needs {needed}",
                where=located.where,
                fix=f"{advice}, or map the columns. {dataset.advice}".strip(),
            )


def count_unknown_labels(
    examples: Sequence[Example], known: Collection[str], where: str
) -> dict[str, int]:
    """Number of examples with each label that a model does not know, the most frequent first.

    Args:
        known: the labels that the model can give; empty for a model without labels.
        where: the origin of the examples, for errors.

    Raises:
        InputError: it knows no label of the examples, so that no answer could be right.
    """
    counts = Counter(label for example in examples for label in example.class_labels)
    unknown = {label: count for label, count in counts.most_common() if label not in known}
    if not known or not unknown:
        return {}
    if len(unknown) == len(counts):
        raise InputError(
            f"the model knows no label of these examples: {shorten_labels(unknown)}",
            where=where,
            fix=f"It knows {shorten_labels(known)}. Correct the labels, or map their column.",
        )
    return unknown


def shorten_labels(labels: Iterable[str]) -> str:
    """Labels in quotes, in one line; of many only the first, and the number of all."""
    names = list(labels)
    shown = ", ".join(f"'{name}'" for name in names[:_LABELS_SHOWN])
    return shown if len(names) <= _LABELS_SHOWN else f"{shown}, ... ({len(names):,} in all)"


def data_files(paths: Paths) -> list[Path]:
    """The files of a data set: files themselves, and all files in folders and their subfolders."""
    files: list[Path] = []
    for path in expand_paths(paths):
        inner = (each for each in path.rglob("*") if each.is_file())
        files += sorted(inner) if path.is_dir() else [path]
    return files


def _digest(files: Sequence[Path]) -> str:
    """SHA-256 of the contents of files, by which a resumed run notices that its data has changed.

    A file that cannot be read is left out: the error is reported when the file is needed.
    """
    return hash_files(path for path in files if os.access(path, os.R_OK))


def examples_of(located: Sequence[LocatedExample]) -> list[Example]:
    """The examples of located examples, without their origins in the data."""
    return [each.example for each in located]
