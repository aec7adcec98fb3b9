"""Statistics of examples before training: repetitions, contradictions, leaks, labels, lengths."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from moli.records.examples import Example, LocatedExample, Preference
from moli.records.preferences import answer_length
from moli.training.batching.samples import Sample

_BINS = 12
Locations = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Repetitions:
    """Locations of repeated examples. The locations in a group are in the order of the data.

    Attributes:
        exact: groups of equal examples.
        near: groups that are equal apart from case, spaces and punctuation.
        contradicting: groups of one input with several labels or scores.
        leaked: a training example and a held-out one with the same input apart from case,
            spaces and punctuation. Equal ones are not here: they were removed.
    """

    exact: tuple[Locations, ...] = ()
    near: tuple[Locations, ...] = ()
    contradicting: tuple[Locations, ...] = ()
    leaked: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Lengths:
    """Lengths of samples in tokens, before truncation.

    Attributes:
        most: the maximum length; 0 if there is no limit.
        limit: the maximum length that the base can take; 0 if there is no limit.
        bins: number of samples in ranges of equal width, by the largest length of the range.
    """

    median: int
    percentile95: int
    longest: int
    most: int
    limit: int
    bins: dict[int, int]


@dataclass(frozen=True, slots=True)
class PairStatistics:
    """Statistics of pairs of a chosen and a rejected answer. Lengths are in characters.

    Attributes:
        prompts: number of different prompts.
        chosen_length, rejected_length: median lengths of the answers.
        longer: number of pairs whose chosen answer is the longer one.
        shorter: number of pairs whose chosen answer is the shorter one.
        with_margin: number of pairs with a margin.
        tags: number of pairs with each safety tag.
    """

    pairs: int
    prompts: int
    chosen_length: int
    rejected_length: int
    longer: int
    shorter: int
    with_margin: int
    tags: Mapping[str, int]


def measure_pairs(located: Sequence[LocatedExample]) -> PairStatistics | None:
    """Statistics of the pairs among examples; None if there are none."""
    pairs = [each.example for each in located if isinstance(each.example, Preference)]
    if not pairs:
        return None
    chosen = np.array([answer_length(pair.chosen) for pair in pairs])
    rejected = np.array([answer_length(pair.rejected) for pair in pairs])
    tags = {
        "safe over unsafe": sum(p.chosen_is_safe is True and p.rejected_is_safe is False
                                for p in pairs),
        "both safe": sum(p.chosen_is_safe is True and p.rejected_is_safe is True for p in pairs),
        "both unsafe": sum(p.chosen_is_safe is False and p.rejected_is_safe is False
                           for p in pairs),
        "unsafe over safe": sum(p.chosen_is_safe is False and p.rejected_is_safe is True
                                for p in pairs),
        "unsafe prompt": sum(p.prompt_is_unsafe is True for p in pairs),
    }  # fmt: skip
    return PairStatistics(
        len(pairs),
        len({pair.prompt for pair in pairs}),
        round(float(np.median(chosen))),
        round(float(np.median(rejected))),
        int((chosen > rejected).sum()),
        int((chosen < rejected).sum()),
        sum(pair.margin > 0 for pair in pairs),
        {name: count for name, count in tags.items() if count},
    )


def find_repetitions(
    train: Sequence[LocatedExample], held_out: Sequence[LocatedExample]
) -> Repetitions:
    """All repetitions among training examples, and between them and held-out ones."""
    by_identity: dict[object, list[str]] = defaultdict(list)
    by_text: dict[tuple[str, str], dict[object, str]] = defaultdict(dict)
    outputs_by_input: dict[str, dict[str, str]] = defaultdict(dict)
    held_out_inputs: dict[str, str] = {}
    for located in held_out:
        held_out_inputs.setdefault(_normalized_input(located.example), located.where)
    leaked = []
    for located in train:
        example, where = located.example, located.where
        text, output = _normalized_input(example), normalize_text(example.expected_output)
        by_identity[example.identity].append(where)
        by_text[text, output].setdefault(example.identity, where)
        if example.has_one_target:
            outputs_by_input[text].setdefault(output, where)
        if text in held_out_inputs:
            leaked.append((where, held_out_inputs[text]))
    return Repetitions(
        _repeated(by_identity.values()),
        _repeated(locations.values() for locations in by_text.values()),
        _repeated(locations.values() for locations in outputs_by_input.values()),
        tuple(leaked),
    )


def _repeated(groups: Iterable[Iterable[str]]) -> tuple[Locations, ...]:
    """The groups with more than one location."""
    return tuple(locations for locations in map(tuple, groups) if len(locations) > 1)


def _normalized_input(example: Example) -> str:
    """An example's input as it is compared with others: a text normalized, a hash unchanged."""
    return normalize_text(example.model_input) if example.input_is_text else example.model_input


def normalize_text(text: str) -> str:
    """A text without differences that a reader overlooks: case, width, spaces, punctuation.

    A text of punctuation alone stays as it is.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return "".join(filter(str.isalnum, folded)) or text


def count_labels(located: Sequence[LocatedExample], known: Sequence[str] = ()) -> Mapping[str, int]:
    """Number of examples of each label, the most frequent first; empty for tasks without labels.

    Args:
        known: labels to count even if no example has them.
    """
    labels = Counter(label for each in located for label in each.example.class_labels)
    return dict(labels.most_common()) | {label: 0 for label in known if label not in labels}


def measure_lengths(
    samples: Sequence[Sample], max_length: int, limit: int, dropped: Iterable[int] = ()
) -> Lengths:
    """Lengths of samples; a sample of several sequences is as long as the longest of them.

    Args:
        max_length: the maximum length; 0 if there is no limit.
        limit: the maximum length that the base can take; 0 if there is no limit.
        dropped: lengths of the examples that have no samples because they are too long.
    """
    sizes = np.array([each.length + each.truncated_tokens for each in samples] + list(dropped))
    median, percentile95 = np.percentile(sizes, [50, 95])
    longest = int(sizes.max())
    width = max(1, -(-longest // _BINS))
    limits = sorted({*range(width, longest, width), longest, min(max_length or longest, longest)})
    counts = np.bincount(np.searchsorted(limits, sizes), minlength=len(limits))
    bins = dict(zip(limits, counts.tolist(), strict=True))
    return Lengths(
        round(float(median)), round(float(percentile95)), longest, max_length, limit, bins
    )
