"""What is found in examples before training: repetitions, contradictions, leaks, lengths."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from moli.records.examples import Example, LocatedExample
from moli.training.batching.samples import Sample

_BINS = 12
Places = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Repetitions:
    """Where repeated examples are. Each group is in order of place.

    Attributes:
        exact: groups of equal examples.
        near: groups that are equal apart from case, spaces and punctuation.
        contradicting: groups of one input with several labels or scores.
        leaked: a training example and a held-out one with the same input apart from case,
            spaces and punctuation. Equal ones are not here: they were removed.
    """

    exact: tuple[Places, ...] = ()
    near: tuple[Places, ...] = ()
    contradicting: tuple[Places, ...] = ()
    leaked: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Lengths:
    """Tokens of samples before truncation.

    Attributes:
        most: the maximum length; 0 if there is no limit.
        bins: how many are in each of equally wide ranges, by its largest length.
    """

    median: int
    percentile95: int
    longest: int
    most: int
    bins: dict[int, int]


def repetitions(train: Sequence[LocatedExample], held_out: Sequence[LocatedExample]) -> Repetitions:
    """All repetitions among training examples, and between them and held-out ones."""
    equal: dict[object, list[str]] = defaultdict(list)
    alike: dict[tuple[str, str], dict[object, str]] = defaultdict(dict)
    asked: dict[str, dict[str, str]] = defaultdict(dict)
    held: dict[str, str] = {}
    for each in held_out:
        held.setdefault(_input(each.example), each.where)
    leaked = []
    for each in train:
        given, wanted = _input(each.example), bare(each.example.expected_output)
        same = each.example.identity
        equal[same].append(each.where)
        alike[given, wanted].setdefault(same, each.where)
        if each.example.has_one_target:
            asked[given].setdefault(wanted, each.where)
        if given in held:
            leaked.append((each.where, held[given]))
    return Repetitions(
        _groups(equal.values()),
        _groups(each.values() for each in alike.values()),
        _groups(each.values() for each in asked.values()),
        tuple(leaked),
    )


def _groups(found: Iterable[Iterable[str]]) -> tuple[Places, ...]:
    listed = (tuple(each) for each in found)
    return tuple(each for each in listed if len(each) > 1)


def _input(example: Example) -> str:
    return bare(example.model_input) if example.input_is_text else example.model_input


def bare(text: str) -> str:
    """A text without what makes no difference to a reader: case, width, spaces, punctuation.

    A text of nothing else stays as it is.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(filter(str.isalnum, folded)) or text


def labels_of(located: Sequence[LocatedExample]) -> Mapping[str, int]:
    """How many examples each label has, the most frequent first; nothing where there are none."""
    labels = Counter(each.example.class_label for each in located)
    return {label: count for label, count in labels.most_common() if label is not None}


def lengths_of(samples: Sequence[Sample], most: int) -> Lengths:
    """How long samples are, each by the longest of its parts."""
    sizes = np.array(
        [max(map(len, each.sequences), default=0) + each.truncated_tokens for each in samples]
    )
    median, percentile95 = np.percentile(sizes, [50, 95])
    longest = int(sizes.max())
    width = max(1, -(-longest // _BINS))
    limits = sorted({*range(width, longest, width), longest, min(most or longest, longest)})
    counts = np.bincount(np.searchsorted(limits, sizes), minlength=len(limits))
    bins = dict(zip(limits, counts.tolist(), strict=True))
    return Lengths(round(float(median)), round(float(percentile95)), longest, most, bins)
