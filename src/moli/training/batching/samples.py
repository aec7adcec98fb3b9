"""Samples, and the plan of an epoch: in which order and which steps its samples are computed.

The plan of an epoch is a pure function of the samples' sizes, the seed and the epoch's number. So
a run that resumes from a checkpoint needs only the number of its step to see the same batches.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Tokens = NDArray[np.int32]
_SORTED_STEPS = 50  # steps whose samples are sorted by size together


@dataclass(frozen=True, slots=True)
class Sample:
    """An example, or a part of one, as the model sees it.

    Attributes:
        sequences: token ids of one sequence, or of several that the model reads apart.
        continues: for each sequence, the index of the one that it continues, as two answers
            continue one prompt, or -1; empty if none continues another. What is continued is
            computed once.
        target: what to learn, in a form of the task's own.
        supervised: number of items of the target that count in the loss.
        truncated_tokens: number of tokens of the example that were cut off.
        image_patches: number of tokens that would cost as much as the sample's image; 0 without
            one.
        group: samples with the same number are computed in the same step; None for one by itself.
        size: the cost of computing it, in tokens.
    """

    sequences: tuple[Tokens, ...]
    target: Any
    supervised: int = 1
    truncated_tokens: int = 0
    image_patches: int = 0
    group: int | None = None
    continues: tuple[int, ...] = ()

    @property
    def length(self) -> int:
        """Tokens of the longest text that the model reads; 0 without any."""
        own = [len(each) for each in self.sequences]
        before = [own[index] if index >= 0 else 0 for index in self.continues] or [0] * len(own)
        return max(map(sum, zip(own, before, strict=True)), default=0)

    @property
    def size(self) -> int:
        """The cost of computing the sample, in tokens."""
        return sum(map(len, self.sequences)) + self.image_patches


MicroBatch = tuple[int, ...]  # indices of samples that are computed at once
Step = tuple[MicroBatch, ...]  # the micro-batches between two updates of the weights


@dataclass(frozen=True, slots=True)
class Batching:
    """Options for putting samples together.

    Attributes:
        batch: number of samples in a step.
        max_tokens: maximum number of tokens in a micro-batch, unless a single sample is longer;
            None if steps cannot be split.
        packed: whether samples lie end to end. Otherwise those computed together are padded to the
            longest, and the samples of about fifty steps are sorted by size before they are dealt
            out.
    """

    batch: int
    max_tokens: int | None
    packed: bool


def plan_epoch(
    sizes: Sequence[int],
    batching: Batching,
    seed: int,
    epoch: int,
    groups: Sequence[int | None] = (),
) -> list[Step]:
    """The steps of one epoch; every sample is in exactly one of them.

    Args:
        sizes: size of each sample.
        groups: group of each sample, if any of them has one.
    """
    if not len(sizes):
        return []
    if any(group is not None for group in groups):
        steps = _whole_groups(groups, batching.batch, seed, epoch)
        return [_split_step(step, sizes, batching) for step in steps]
    order = np.random.default_rng((seed, epoch)).permutation(len(sizes))
    if not batching.packed:
        order = _sorted_by_size_locally(order, sizes, batching, seed, epoch)
    starts = range(0, len(order), batching.batch)
    return [_split_step(order[s : s + batching.batch].tolist(), sizes, batching) for s in starts]


def steps_in_epoch(samples: int, batch: int) -> int:
    """Number of steps in an epoch, the last of which may be short."""
    return -(-samples // batch)


def _whole_groups(
    groups: Sequence[int | None], batch: int, seed: int, epoch: int
) -> list[list[int]]:
    """The samples of each step, with groups kept whole; only one larger than a step is split.

    There are as many steps as without groups, and none is empty: of the groups in a random order,
    each goes to the step in whose equal share of the samples it begins.
    """
    steps = steps_in_epoch(len(groups), batch)
    by_group: dict[int, list[int]] = {}
    for index, group in enumerate(groups):
        by_group.setdefault(-index - 1 if group is None else group, []).append(index)
    most = len(groups) // steps
    parts = [
        members[start : start + most]
        for members in by_group.values()
        for start in range(0, len(members), most)
    ]
    planned: list[list[int]] = [[] for _ in range(steps)]
    position = 0
    for number in np.random.default_rng((seed, epoch)).permutation(len(parts)):
        planned[position * steps // len(groups)] += parts[number]
        position += len(parts[number])
    return planned


def _sorted_by_size_locally(
    order: NDArray[np.int64], sizes: Sequence[int], batching: Batching, seed: int, epoch: int
) -> NDArray[np.int64]:
    """Reorder samples so that those of one step have about the same size.

    They are sorted by size within regions of about fifty steps; then the steps are shuffled.

    Args:
        order: indices of the samples.
    """
    size = np.asarray(sizes)
    region = batching.batch * _SORTED_STEPS
    steps: list[NDArray[np.int64]] = []
    for begin in range(0, len(order), region):
        nearby = order[begin : begin + region]
        nearby = nearby[np.argsort(size[nearby], kind="stable")]
        steps += [nearby[s : s + batching.batch] for s in range(0, len(nearby), batching.batch)]
    # The short step, if there is one, stays last: every other step then has its full number.
    last = [steps.pop()] if steps and len(steps[-1]) < batching.batch else []
    shuffled = np.random.default_rng((seed, epoch, 1)).permutation(len(steps))
    return np.concatenate([*(steps[index] for index in shuffled), *last])


def _split_step(samples: list[int], sizes: Sequence[int], batching: Batching) -> Step:
    """Split a step's samples into micro-batches within the limit; a larger sample has its own."""
    limit = math.inf if batching.max_tokens is None else batching.max_tokens
    largest_first = sorted(samples, key=lambda index: -sizes[index])
    split = _split_evenly if batching.packed else _split_by_size
    return tuple(map(tuple, split(largest_first, sizes, limit)))


def _split_evenly(samples: list[int], sizes: Sequence[int], limit: float) -> list[list[int]]:
    """Split samples into few micro-batches of about equal size.

    A sample goes to the part that is the smallest so far, the largest sample first (Graham 1969).

    Args:
        samples: indices of the samples, the largest first.
        limit: maximum size of a part; a larger sample is a part by itself.
    """
    fitting = [index for index in samples if sizes[index] <= limit]
    too_large = [[index] for index in samples if sizes[index] > limit]
    count = max(1, math.ceil(sum(sizes[index] for index in fitting) / limit))
    while True:
        parts: list[list[int]] = [[] for _ in range(count)]
        totals = [0] * count
        for index in fitting:
            smallest = totals.index(min(totals))
            parts[smallest].append(index)
            totals[smallest] += sizes[index]
        if max(totals) <= limit:
            return too_large + [part for part in parts if part]
        count += 1


def _split_by_size(samples: list[int], sizes: Sequence[int], limit: float) -> list[list[int]]:
    """Split samples into micro-batches of similar sizes, which are padded to the largest.

    Args:
        samples: indices of the samples, the largest first.
        limit: maximum size of a part with its padding.
    """
    parts: list[list[int]] = []
    for index in samples:
        if parts and sizes[parts[-1][0]] * (len(parts[-1]) + 1) <= limit:
            parts[-1].append(index)
        else:
            parts.append([index])
    return parts


def advise_length(most: int, limit: int, longest: int) -> str:
    """A remedy for examples that are truncated, within what the base can take.

    Args:
        most: the maximum length in tokens.
        limit: the maximum length that the base can take.
        longest: the length of the longest example.
    """
    if most >= limit:
        return (
            f"The base takes {limit:,} tokens at most, and the longest example has {longest:,}: "
            "split the examples, or name a base that takes more."
        )
    if longest <= limit:
        return f"Set max_length: {longest}, the length of the longest, or split the examples."
    return (
        f"Set max_length: {limit}, which is the most that the base takes (the longest example has "
        f"{longest:,}), or split the examples."
    )
