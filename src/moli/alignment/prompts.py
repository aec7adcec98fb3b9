"""The prompts of a run, from any data set that has some."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from moli.alignment.rollouts.buffer import TrainingPrompt
from moli.models.templates.chat_template import prompt_ids
from moli.records.errors import InputError
from moli.records.examples import (
    Conversation,
    Example,
    LocatedExample,
    MalformedRow,
    Pair,
    Preference,
    RatedAnswer,
    Text,
)
from moli.records.hashing import hash_files
from moli.records.messages import Message, Tool
from moli.training.data import check_dataset, data_files
from moli.training.recipes.recipe import Recipe
from moli.training.tasks.base.chat import conversation_of
from moli.workspace.datasets import (
    Dataset,
    Row,
    expand_paths,
    lacks_header,
    read_questions,
    read_rows,
)
from moli.workspace.datasets.detection import (
    QuestionFormats,
    check_columns,
    format_of,
    mapping_in,
)
from moli.workspace.datasets.fields import is_blank
from moli.workspace.datasets.formats import MESSAGES, PAIR
from moli.workspace.datasets.preference_formats import PREFERENCES, is_unsafe_prompt
from moli.workspace.datasets.rows import empty_file
from moli.workspace.datasets.suggestions import suggest_columns

_MISSING = "?"  # in place of an answer that a row does not have
_COMPARED: Mapping[str, Mapping[str, Any]] = {each.name: {} for each in PREFERENCES}
_QUESTIONS: Mapping[str, Mapping[str, Any]] = {
    "messages": {},
    "alpaca": {"output": _MISSING},
    "pair": {"target": _MISSING},
    "text": {},
}
_KINDS = (Conversation, Pair, Text, Preference, RatedAnswer)
# A question whose answer may be missing, to find columns for.
_QUESTION = replace(
    PAIR,
    columns={"prompt": PAIR.columns["source"]},
    optional={**PAIR.optional, "completion": PAIR.columns["target"]},
)
_MAX_HELD_OUT = 256


@dataclass(frozen=True, slots=True)
class Prompts:
    """The different prompts of a data set.

    Attributes:
        train, held_out: prompts to learn from and to evaluate on.
        digest: SHA-256 of the data files.
        facts: numbers of rows, prompts and what was left out.
        malformed: rows that have no prompt or cannot be read.
    """

    train: tuple[TrainingPrompt, ...]
    held_out: tuple[TrainingPrompt, ...]
    digest: str
    facts: Mapping[str, int]
    malformed: tuple[MalformedRow, ...] = ()


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
    dataset, unsafe = _read_files(policy)
    check_dataset(dataset, policy, _KINDS, fix="Correct or remove them.")
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
    digest = hash_files(data_files(policy.data))
    return Prompts(train, evaluated, digest, facts, (*dataset.unread, *dataset.malformed))


def _read_files(policy: Recipe) -> tuple[Dataset, Set[str]]:
    """The examples of a recipe's files, each with its own format, and the unsafe rows' origins.

    Raises:
        InputError: a file cannot be read, or no row of it has a prompt.
    """
    sources = {path: list(read_rows(path, "training")) for path in expand_paths(policy.data)}
    paths, everything = list(sources), [row for rows in sources.values() for row in rows]
    check_columns(policy.columns, everything, paths[0], _KINDS)
    datasets, unsafe = [], set()
    for path, rows in sources.items():
        mapping = mapping_in(rows, policy.columns)
        formats = _formats_of(rows, mapping, path)
        datasets.append(
            read_questions(
                rows or [empty_file(path)],
                formats,
                path=path,
                columns=mapping,
                roles=policy.roles,
            )
        )
        readable = [row for row in rows if isinstance(row, Row)]
        unsafe |= {row.where for row in readable if is_unsafe_prompt(row, mapping)}
    requests: list[LocatedExample] = []
    malformed = [row for each in datasets for row in each.malformed]
    for located in (located for each in datasets for located in each.examples):
        if _is_blank(located.example):
            fix = "Fill it in, or remove the row."
            malformed.append(MalformedRow(located.where, "the prompt is empty", fix))
        else:
            requests.append(located)
    joined = Dataset(
        paths[0] if len(paths) == 1 else Path(os.path.commonpath(paths)),
        datasets[0].format,
        tuple(requests),
        tuple(malformed),
        unread=tuple(lines for each in datasets for lines in each.unread),
    )
    return joined, unsafe


def _formats_of(
    rows: Sequence[Row | MalformedRow], mapping: Mapping[str, str], path: Path
) -> QuestionFormats:
    """The formats that a file's rows are read in: those that compare answers, or the others.

    Raises:
        InputError: no row has a prompt in a column that is known.
    """
    readable = [row for row in rows if isinstance(row, Row)]
    for row in readable:
        for formats in (_COMPARED, _QUESTIONS):
            if format_of(row.values, mapping, formats):
                return formats
    if not readable:
        return _QUESTIONS
    shown = ", ".join(map(str, readable[0].values)) or "-"
    if lacks_header(readable):
        fix = "If the file has no header, add one as its first line, such as: prompt."
    elif line := suggest_columns(readable, (MESSAGES, _QUESTION, *PREFERENCES)):
        fix = f"Add this to the recipe, if it is what they are: `{line}`."
    else:
        fix = "Rename them, or map one of them, as `columns: {prompt: NAME}`."
    raise InputError(f"columns {shown} have no prompt", where=str(path), fix=fix)


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
    messages, tools = _request(example)
    reference = "" if isinstance(example, Preference | RatedAnswer) else example.expected_output
    return TrainingPrompt(
        ids=tuple(prompt_ids(tokenizer, messages, tools)),
        messages=messages,
        reference="" if reference == _MISSING else reference,
        is_unsafe=is_unsafe,
        tools=tuple(tools),
    )


def _request(example: Example) -> tuple[tuple[Message, ...], Sequence[Tool]]:
    """All messages before the answer of an example that is no text, and its tools."""
    if isinstance(example, Preference | RatedAnswer):
        return example.prompt, example.tools if isinstance(example, Preference) else ()
    conversation = conversation_of(example)
    return conversation.messages[:-1], conversation.tools


def _is_blank(example: Example) -> bool:
    """Whether an example has no request."""
    if isinstance(example, Text):
        return is_blank(example.text)
    messages, _ = _request(example)
    return not messages or (messages[-1].role == "user" and is_blank(messages[-1].content))
