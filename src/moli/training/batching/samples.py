"""Samples, and how they make up steps: the order of the data, planned before it is used.

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


@dataclass(frozen=True, slots=True)
class Sample:
    """An example as the model sees it.

    Attributes:
        parts: its token sequences: one, or several that the model reads apart.
        target: what is to be learnt, in the task's own form.
        supervised: how many items of it count in the loss.
        cut: tokens of the example that were cut off.
        size: what it costs to compute, in tokens.
    """

    sequences: tuple[Tokens, ...]
    target: Any
    supervised: int = 1
    truncated_tokens: int = 0
    image_patches: int = 0

    @property
    def size(self) -> int:
        return sum(map(len, self.sequences)) + self.image_patches


MicroBatch = tuple[int, ...]  # numbers of samples that are computed at once
Step = tuple[MicroBatch, ...]  # what is summed before the weights move


@dataclass(frozen=True, slots=True)
class Batching:
    """How samples are put together.

    Attributes:
        batch: samples in a step.
        max_tokens: tokens that are computed at once, but for a sample that is longer by itself;
            None where a step cannot be divided.
        packed: samples lie end to end; otherwise those computed together are padded to the longest,
            and the samples of about fifty steps are sorted by size before they are dealt out.
    """

    batch: int
    max_tokens: int | None
    packed: bool


def plan_epoch(sizes: Sequence[int], batching: Batching, seed: int, epoch: int) -> list[Step]:
    """The steps of one epoch; every sample is in exactly one of them."""
    if not len(sizes):
        return []
    order = np.random.default_rng((seed, epoch)).permutation(len(sizes))
    if not batching.packed:
        order = _by_size_nearby(order, sizes, batching, seed, epoch)
    starts = range(0, len(order), batching.batch)
    return [_micros(order[s : s + batching.batch].tolist(), sizes, batching) for s in starts]


def steps_in_epoch(samples: int, batch: int) -> int:
    """How many steps an epoch has, the last of which may be short."""
    return -(-samples // batch)


def _by_size_nearby(
    order: NDArray[np.int64], sizes: Sequence[int], batching: Batching, seed: int, epoch: int
) -> NDArray[np.int64]:
    size = np.asarray(sizes)
    region = batching.batch * 50
    steps: list[NDArray[np.int64]] = []
    for begin in range(0, len(order), region):
        near = order[begin : begin + region]
        near = near[np.argsort(size[near], kind="stable")]
        steps += [near[s : s + batching.batch] for s in range(0, len(near), batching.batch)]
    # The short step, if there is one, stays last: every other step then has its full number.
    tail = [steps.pop()] if steps and len(steps[-1]) < batching.batch else []
    shuffled = np.random.default_rng((seed, epoch, 1)).permutation(len(steps))
    return np.concatenate([*(steps[each] for each in shuffled), *tail])


def _micros(rows: list[int], sizes: Sequence[int], batching: Batching) -> Step:
    """Divide a step's samples so that each part is within the limit, or is one sample."""
    limit = math.inf if batching.max_tokens is None else batching.max_tokens
    rows = sorted(rows, key=lambda row: -sizes[row])
    parts = _equal if batching.packed else _neighbours
    return tuple(map(tuple, parts(rows, sizes, limit)))


def _equal(rows: list[int], sizes: Sequence[int], limit: float) -> list[list[int]]:
    """Few parts of equal size: a small one is slow, a large one takes memory.

    Each sample goes to the smallest part, the largest sample first (Graham 1969).
    """
    fitting = [row for row in rows if sizes[row] <= limit]
    alone = [[row] for row in rows if sizes[row] > limit]
    count = max(1, math.ceil(sum(sizes[row] for row in fitting) / limit))
    while True:
        parts: list[list[int]] = [[] for _ in range(count)]
        filled = [0] * count
        for row in fitting:
            smallest = filled.index(min(filled))
            parts[smallest].append(row)
            filled[smallest] += sizes[row]
        if max(filled) <= limit:
            return alone + [each for each in parts if each]
        count += 1


def _neighbours(rows: list[int], sizes: Sequence[int], limit: float) -> list[list[int]]:
    """Neighbours by size, counted at the size of the longest, to which they are padded."""
    parts: list[list[int]] = []
    for row in rows:
        if parts and sizes[parts[-1][0]] * (len(parts[-1]) + 1) <= limit:
            parts[-1].append(row)
        else:
            parts.append([row])
    return parts
