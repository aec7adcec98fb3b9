"""Rows that compare or rate answers, which are no examples of the one right answer."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from moli.records.errors import InputError
from moli.workspace.datasets.columns import DatasetFormat
from moli.workspace.datasets.conversations import is_turns
from moli.workspace.datasets.fields import Row

# Names of columns with the worse of two answers: those of TRL, LLaMA-Factory, ms-swift, OpenAI.
_REJECTED = re.compile(
    r"(.*[_\W])?(rejected|reject|non[_-]?preferred|dis[_-]?preferred|loser|losing)([_\W].*)?"
)
_KTO = {"prompt", "completion", "label"}  # the columns of such data for TRL
_RATINGS = ("label", "kto_tag")  # columns that say whether an answer is good


def check_no_preference(row: Row, used: DatasetFormat | None, mapping: Mapping[str, str]) -> None:
    """Refuse a row with a preference, unless the user maps the column of the answer.

    Args:
        used: the format in which the row is read.
        mapping: Moli's column names to the data set's, as the user gave them.

    Raises:
        InputError: the row has a preference that the format ignores.
    """
    if used:
        *_, answer = used.columns
        if mapping.keys() & {answer, *used.columns[answer]}:
            return
    if rejected := _rejected_column(row.values):
        what, tasks = f"'{rejected}' is a rejected answer: preference rows belong to DPO", "dpo"
        better = _better_answer(row.values, rejected)
        hint = f"add `columns: {{{better}}}`." if better else f"remove '{rejected}'."
    elif rating := _rating_column(row.values, used):
        what, tasks = f"'{rating}' rates the answer: rows with ratings belong to KTO", "kto"
        hint = f"keep only the rows with good answers, and remove '{rating}'."
    else:
        return
    raise InputError(
        f"{what}, and are no examples to imitate",
        where=row.where,
        fix=f"Use task: {tasks}, or task: reward; to train on the good answers alone, {hint}",
    )


def _rejected_column(row: Mapping[str, Any]) -> str:
    """The column with the worse answer; "" if there is none."""
    for name, value in row.items():
        if isinstance(value, str | list | dict) and _REJECTED.fullmatch(name.strip().casefold()):
            return name
    return ""


def _better_answer(row: Mapping[str, Any], rejected: str) -> str:
    """The mapping of the column with the better answer to Moli's; "" if it is not clear."""
    for worse, better in (("rejected", "chosen"), ("reject", "chosen"), ("non_", ""), ("dis", "")):
        name = rejected.replace(worse, better)
        if name == rejected or name not in row:
            continue
        if is_turns(row[name]):
            turns = row[name]
            return f"messages: {name}" if isinstance(turns, list) and len(turns) > 1 else ""
        if "instruction" in row:
            return f"output: {name}"
        is_answer = "prompt" in row or "question" in row
        return f"completion: {name}" if is_answer else f"text: {name}"
    return ""


def _rating_column(row: Mapping[str, Any], used: DatasetFormat | None) -> str:
    """The column that says whether the answer is good; "" if there is none."""
    names = () if used is None else {*used.columns, *used.optional}
    for name in _RATINGS:
        value = str(row.get(name)).casefold()
        is_number = value in ("0", "1", "0.0", "1.0")  # a class, unless the columns are KTO's
        if name not in names and (
            value in ("true", "false") or (is_number and (name == "kto_tag" or row.keys() == _KTO))
        ):
            return name
    return ""
