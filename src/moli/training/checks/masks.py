"""Which tokens of a sample are learnt, as text to look at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moli.training.batching.samples import Sample, Tokens
from moli.training.recipes.task_table import TASKS
from moli.training.tasks.base.task import Task


@dataclass(frozen=True, slots=True)
class Piece:
    """Neighbouring tokens of one kind: learnt or only read, special or words."""

    text: str
    learnt: bool
    special: bool


@dataclass(frozen=True, slots=True)
class Masked:
    """A sample's tokens in pieces, for each of its sequences, and the place of its example."""

    where: str
    parts: tuple[tuple[Piece, ...], ...]


def masked(task: Task, sample: Sample, where: str) -> Masked | None:
    """A sample to look at; None where its task does not learn tokens."""
    learnt, tokenizer = task.supervised_tokens(sample), task.tokenizer
    if learnt is None or tokenizer is None:
        return None
    parts = zip(sample.sequences, learnt, strict=True)
    return Masked(where, tuple(_pieces(tokenizer, ids, marks) for ids, marks in parts))


def _pieces(tokenizer: Any, ids: Tokens, learnt: NDArray[np.bool_]) -> tuple[Piece, ...]:
    special = set(tokenizer.all_special_ids)
    kinds = [(bool(mark), int(each) in special) for each, mark in zip(ids, learnt, strict=True)]
    pieces = []
    for (mark, is_special), run in groupby(range(len(kinds)), key=kinds.__getitem__):
        text = tokenizer.decode([int(ids[place]) for place in run], skip_special_tokens=False)
        pieces.append(Piece(text, mark, is_special))
    return tuple(pieces)


def unended(task: Task, groups: Sequence[Sequence[Sample]]) -> list[int] | None:
    """The numbers of the groups of which a sample's last learnt token is not one that ends a text.

    None where a task does not teach a model to end: it learns no tokens, or texts without ends.
    """
    stops = _stops(task)
    if not TASKS[task.recipe.task].ends_with_stop_token or not stops:
        return None
    found = []
    for number, group in enumerate(groups):
        for sample in group:
            learnt = task.supervised_tokens(sample)
            places = np.flatnonzero(learnt[-1]) if learnt else np.zeros(0, int)
            if len(places) and int(sample.sequences[-1][places[-1]]) not in stops:
                found.append(number)
                break
    return found


def _stops(task: Task) -> set[int]:
    """Ids that end what a model says: the tokenizer's, and those that its turns end with."""
    tokenizer = task.tokenizer
    if tokenizer is None:
        return set()
    ends = (tokenizer.eos_token_id, *(tokenizer.convert_tokens_to_ids(each) for each in _TURNS))
    known = set(tokenizer.all_special_ids) | set(tokenizer.get_added_vocab().values())
    return {each for each in ends if each is not None and each in known}


# What families end a turn with, where that is not what ends a text.
_TURNS = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "<|eom_id|>")
