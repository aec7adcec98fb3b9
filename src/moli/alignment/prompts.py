"""The prompts of a run, from any data set that has some."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from moli.alignment.rollouts.buffer import TrainingPrompt
from moli.models.templates.chat_template import prompt_ids
from moli.records.errors import InputError
from moli.records.examples import (
    Conversation,
    Example,
    LocatedExample,
    Pair,
    Preference,
    RatedAnswer,
    Text,
)
from moli.records.hashing import hash_files
from moli.records.messages import Message
from moli.training.data import check_dataset, data_files
from moli.training.recipes.recipe import Recipe
from moli.training.tasks.base.chat import conversation_of
from moli.workspace.datasets import Row, expand_paths, read_questions, read_rows
from moli.workspace.datasets.detection import format_of
from moli.workspace.datasets.preference_formats import PREFERENCES, is_unsafe_prompt

_MISSING = "?"  # in place of an answer that a row does not have
_COMPARED: Mapping[str, Mapping[str, Any]] = {each.name: {} for each in PREFERENCES}
_QUESTIONS: Mapping[str, Mapping[str, Any]] = {
    "messages": {},
    "alpaca": {"output": _MISSING},
    "pair": {"target": _MISSING},
    "text": {},
}
_MAX_HELD_OUT = 256


@dataclass(frozen=True, slots=True)
class Prompts:
    """The different prompts of a data set.

    Attributes:
        train, held_out: prompts to learn from and to evaluate on.
        digest: SHA-256 of the data files.
        facts: numbers of rows, prompts and what was left out.
    """

    train: tuple[TrainingPrompt, ...]
    held_out: tuple[TrainingPrompt, ...]
    digest: str
    facts: Mapping[str, int]


def read_prompts(policy: Recipe, tokenizer: Any, *, max_length: int, held_out: float) -> Prompts:
    """The prompts in the data of a recipe, those to evaluate on apart.

    Of a conversation it is all before the assistant's last message; of preferences and pairs what
    was asked; a plain text is continued as it is. Equal prompts count once.

    Args:
        policy: the recipe of the policy, with the data and the seed.
        max_length: maximum tokens of a prompt; longer ones are left out.
        held_out: share of the prompts to evaluate on, or their number if it is 1 or more.

    Raises:
        InputError: the data cannot be read, or no prompt is left.
    """
    paths = expand_paths(policy.data)
    rows = [row for path in paths for row in read_rows(path, "training")]
    first = next((row.values for row in rows if isinstance(row, Row)), {})
    formats = _COMPARED if format_of(first, {}, _COMPARED) else _QUESTIONS
    dataset = read_questions(rows, formats, path=paths[0])
    check_dataset(dataset, policy, (Conversation, Pair, Text, Preference, RatedAnswer))
    unsafe = {row.where for row in rows if isinstance(row, Row) and is_unsafe_prompt(row)}
    prompts = _different_prompts(dataset.examples, unsafe, tokenizer)
    fitting = [prompt for prompt in prompts if len(prompt.ids) <= max_length]
    if not fitting:
        raise InputError(
            f"none of {len(prompts):,} prompts has at most {max_length:,} tokens, as there must "
            "also be room for an answer",
            where=policy.data_name,
            fix="Set a smaller max_tokens, or give shorter prompts.",
        )
    order = np.random.default_rng((policy.seed, 0)).permutation(len(fitting)).tolist()
    count = _held_out_count(held_out, len(fitting))
    facts = {
        "rows": dataset.row_count,
        "malformed": len(dataset.malformed),
        "unread": dataset.unread_lines,
        "prompts": len(fitting) - count,
        "held_out": count,
        "repeated": len(dataset.examples) - len(prompts),
        "too_long": len(prompts) - len(fitting),
    }
    train = tuple(fitting[number] for number in sorted(order[count:]))
    evaluated = tuple(fitting[number] for number in sorted(order[:count]))
    return Prompts(train, evaluated, hash_files(data_files(policy.data)), facts)


def _held_out_count(held_out: float, count: int) -> int:
    """Number of prompts to evaluate on.

    Raises:
        InputError: none would be left to learn from.
    """
    number = int(held_out) if held_out >= 1 else min(round(held_out * count), _MAX_HELD_OUT)
    if number >= count:
        raise InputError(
            f"'held_out' is {held_out:g}, but there are only {count:,} different prompts",
            where="recipe",
            fix="Give a smaller number, or a share, as held_out: 0.1.",
        )
    return number


def _different_prompts(
    examples: Sequence[LocatedExample], unsafe: Set[str], tokenizer: Any
) -> list[TrainingPrompt]:
    """The prompts of examples without repetitions, in their order.

    Args:
        unsafe: origins of the rows whose prompt is tagged as unsafe.
    """
    prompts: dict[tuple[int, ...], TrainingPrompt] = {}
    for located in examples:
        try:
            prompt = _training_prompt(located.example, located.where in unsafe, tokenizer)
        except InputError as error:
            raise InputError(error.what, located.where, error.fix) from error
        if prompt.ids:
            prompts.setdefault(prompt.ids, prompt)
    return list(prompts.values())


def _training_prompt(example: Example, is_unsafe: bool, tokenizer: Any) -> TrainingPrompt:
    """The prompt of an example, as tokens and as messages."""
    if isinstance(example, Text):
        ids = tuple(tokenizer(example.text)["input_ids"])
        return TrainingPrompt(ids, (Message("user", example.text),), is_unsafe=is_unsafe)
    if isinstance(example, Preference | RatedAnswer):
        tools = example.tools if isinstance(example, Preference) else ()
        messages, reference = example.prompt, ""
    else:
        conversation = conversation_of(example)
        messages, tools = conversation.messages[:-1], conversation.tools
        reference = example.expected_output
    return TrainingPrompt(
        ids=tuple(prompt_ids(tokenizer, messages, tools)),
        messages=messages,
        reference="" if reference == _MISSING else reference,
        is_unsafe=is_unsafe,
        tools=tuple(tools),
    )
