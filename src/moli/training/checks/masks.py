"""The tokens of a sample as text, with those that are supervised marked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import Any

import numpy as np
from numpy.typing import NDArray

from moli.training.batching.samples import Sample, Tokens
from moli.training.recipes.task_table import TASKS
from moli.training.tasks.base.task import Task

# Tokens that end a turn in families of models where another token ends a text.
_END_OF_TURN = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>", "<|end|>", "<|eom_id|>")


@dataclass(frozen=True, slots=True)
class TokenSpan:
    """The text of neighboring tokens that are all supervised or all not, all special or all not.

    Attributes:
        supervised: whether the tokens count in the loss.
        special: whether they are special tokens.
    """

    text: str
    supervised: bool = field(metadata={"json": "learnt"})
    special: bool


@dataclass(frozen=True, slots=True)
class MaskedSample:
    """A sample's tokens, in spans.

    Attributes:
        where: location of the sample's example.
        parts: the spans of each token sequence.
    """

    where: str
    parts: tuple[tuple[TokenSpan, ...], ...]


def mask_sample(task: Task, sample: Sample, where: str) -> MaskedSample | None:
    """A sample's tokens in spans; None if its task does not supervise tokens."""
    masks, tokenizer = task.supervised_tokens(sample), task.tokenizer
    if masks is None or tokenizer is None:
        return None
    parts = zip(sample.sequences, masks, strict=True)
    return MaskedSample(where, tuple(_split_spans(tokenizer, ids, mask) for ids, mask in parts))


def _split_spans(tokenizer: Any, ids: Tokens, mask: NDArray[np.bool_]) -> tuple[TokenSpan, ...]:
    """Split tokens into the longest possible spans; `mask` is true where a token is supervised."""
    special = set(tokenizer.all_special_ids)
    kinds = [(bool(on), int(token) in special) for token, on in zip(ids, mask, strict=True)]
    spans = []
    for (supervised, is_special), run in groupby(range(len(kinds)), key=kinds.__getitem__):
        text = tokenizer.decode([int(ids[number]) for number in run], skip_special_tokens=False)
        spans.append(TokenSpan(text, supervised, is_special))
    return tuple(spans)


def groups_without_end(task: Task, groups: Sequence[Sequence[Sample]]) -> list[int] | None:
    """Numbers of the groups with a sample whose last supervised token does not end a text.

    None for tasks that do not teach a model to end its texts with a stop token.
    """
    stop_ids = _stop_token_ids(task)
    if not TASKS[task.recipe.task].ends_with_stop_token or not stop_ids:
        return None
    return [
        number
        for number, group in enumerate(groups)
        if any(_lacks_end(task, sample, stop_ids) for sample in group)
    ]


def _lacks_end(task: Task, sample: Sample, stop_ids: set[int]) -> bool:
    """Whether a sample's last supervised token is not a stop token; false without such tokens."""
    masks = task.supervised_tokens(sample)
    supervised = np.flatnonzero(masks[-1]) if masks else np.zeros(0, int)
    return len(supervised) > 0 and int(sample.sequences[-1][supervised[-1]]) not in stop_ids


def _stop_token_ids(task: Task) -> set[int]:
    """Ids of the tokens that end an answer: the tokenizer's, and known ends of turns."""
    tokenizer = task.tokenizer
    if tokenizer is None:
        return set()
    turns = (tokenizer.convert_tokens_to_ids(token) for token in _END_OF_TURN)
    known = set(tokenizer.all_special_ids) | set(tokenizer.get_added_vocab().values())
    return {each for each in (tokenizer.eos_token_id, *turns) if each is not None and each in known}
