"""Questions with the answers that are expected, read from a file."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from moli.records.errors import InputError
from moli.records.examples import MalformedRow
from moli.workspace.datasets.columns import same_name
from moli.workspace.datasets.fields import Row, RowError, text_of
from moli.workspace.datasets.fields import Values as RowValues
from moli.workspace.datasets.rows import read_rows

_QUESTION = ("question", "query", "问题", "問題")
_ANSWERS = ("answers", "answer", "expected", "答案")
_NONE = ("none", "is_impossible", "unanswerable", "无答案", "無答案")
_YES = ("true", "yes", "1", "是", "x")
_NO = ("", "false", "no", "0", "否")
_FIX = 'Write {"question": "...", "answers": ["..."]}, or "none": true if there is no answer.'


@dataclass(frozen=True, slots=True)
class CheckQuestion:
    """A question with its right answers; none if the documents do not contain any.

    Attributes:
        where: the file and line that it is in.
    """

    where: str
    text: str
    answers: tuple[str, ...]


def read_questions(path: Path) -> tuple[list[CheckQuestion], list[MalformedRow]]:
    """The questions in a file of JSON lines, JSON, CSV or the like, and the rows that are none.

    Raises:
        InputError: the file cannot be read, or has no question.
    """
    questions: list[CheckQuestion] = []
    malformed: list[MalformedRow] = []
    for row in read_rows(path):
        if isinstance(row, MalformedRow):
            malformed.append(row)
            continue
        try:
            questions.append(_question_in(row))
        except RowError as error:
            malformed.append(MalformedRow(row.where, error.what, error.fix))
    if not questions:
        if not malformed:
            raise InputError("no question", where=str(path), fix=_FIX)
        first = malformed[0]
        raise InputError(first.what, where=first.where, fix=first.fix)
    return questions, malformed


def _question_in(row: Row) -> CheckQuestion:
    """The question in a row.

    Raises:
        RowError: a column is missing, or its value is of a wrong kind.
    """
    name = same_name(_QUESTION, row.values)
    if name is None:
        raise RowError("no 'question'", _FIX)
    question = text_of(RowValues(row.values, {}), name).strip()
    answers_name, none_name = same_name(_ANSWERS, row.values), same_name(_NONE, row.values)
    if answers_name is None and none_name is None:
        raise RowError("neither 'answers' nor 'none'", _FIX)
    answers = _answers_in(row.values.get(answers_name)) if answers_name else ()
    is_none = _truth_of(row.values.get(none_name), none_name) if none_name else False
    if is_none and answers:
        raise RowError(f"'{none_name}' is true, and there are answers", "Remove one of them.")
    if none_name and not is_none and not answers:
        raise RowError(f"no answer, and '{none_name}' is not true", _FIX)
    return CheckQuestion(row.where, question, answers)


def _answers_in(value: Any) -> tuple[str, ...]:
    """The answers in a column: a text, a list, or a list in a text.

    In the cell of a table they may also be parted by "|".

    Raises:
        RowError: an answer is no text.
    """
    match value:
        case None:
            return ()
        case str():
            text = value.strip()
            if text.startswith("[") and (parsed := _parse_list(text)) is not None:
                return _answers_in(parsed)
            return tuple(part.strip() for part in text.split("|") if part.strip())
        case bool() | float() | int():
            return () if value != value else (str(value),)  # NaN, of an empty cell
        case Mapping():  # as SQuAD's files have it
            return _answers_in(value.get("text"))
        case Sequence():
            return tuple(answer for part in value for answer in _answers_in(part))
    raise RowError("'answers' is no text and no list of texts", _FIX)


def _parse_list(text: str) -> list[Any] | None:
    """The list in a text; None if it is not one."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, list) else None


def _truth_of(value: Any, name: str) -> bool:
    """Whether a column says yes.

    Raises:
        RowError: it says neither yes nor no.
    """
    text = "" if value is None else str(value).strip().lower()
    if text not in (*_YES, *_NO):
        raise RowError(f"'{name}' is {text!r}", "Write true or false.")
    return text in _YES
