"""Requests in the columns of Alpaca's data: an instruction, its input, and earlier requests."""

from __future__ import annotations

from typing import Any

from moli.records.messages import Message
from moli.workspace.datasets.fields import RowError, Values, check_encodable, text_of


def alpaca_request(values: Values, column: str = "instruction") -> list[Message]:
    """A request with its input, after earlier requests with their answers.

    Args:
        column: the column of the request itself.

    Raises:
        RowError: one of them is no text, or an earlier answer is empty.
    """
    request = text_of(values, column)
    if not _is_missing(values.get("input")):
        request = f"{request}\n{text_of(values, 'input')}"
    turns = []
    for earlier_request, answer in _history(values):
        turns += [Message("user", earlier_request), Message("assistant", answer)]
    return [*turns, Message("user", request)]


def _is_missing(value: Any) -> bool:
    """Whether a cell has no value; pandas writes NaN into one without."""
    return value in (None, "") or value != value


def _history(values: Values) -> list[tuple[str, str]]:
    """Earlier requests, each with its answer."""
    history, name = values.get("history") or [], values.name("history")
    pairs = []
    for entry in history if isinstance(history, list | tuple) else [history]:
        match entry:
            case [str(), str() as answer] if not answer.strip():
                raise RowError(f"'{name}' has an empty answer", "Fill it in, or remove the pair.")
            case [str() as request, str() as answer]:
                check_encodable(request, name)
                check_encodable(answer, name)
                pairs.append((request, answer))
            case _:
                raise RowError(
                    f"'{name}' is not a list of [request, answer]", "Write pairs of texts."
                )
    return pairs
