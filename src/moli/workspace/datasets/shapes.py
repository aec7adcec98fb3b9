"""Rows to examples: which shape a data set has, and what is wrong with a row that lacks it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from types import MappingProxyType
from typing import Any

from moli.records.examples import (
    Conversation,
    Example,
    Labelled,
    LabelledImage,
    Malformed,
    Match,
    Pair,
    Scored,
    Span,
    Text,
)
from moli.records.messages import Message, Role
from moli.workspace.datasets.rows import Row

Values = Mapping[str, Any]
_ROLES: Mapping[str, Role] = {
    "system": "system",
    "user": "user",
    "human": "user",
    "assistant": "assistant",
    "gpt": "assistant",
    "model": "assistant",
    "function_call": "assistant",
    "tool": "tool",
    "function": "tool",
    "observation": "tool",
}


class Unfit(Exception):  # noqa: N818 - it is a finding, and is told as one
    """A row's values do not make an example: what is wrong, and what to do."""

    def __init__(self, what: str, fix: str) -> None:
        super().__init__(what, fix)
        self.what, self.fix = what, fix


@dataclass(frozen=True, slots=True)
class Shape:
    """A way that data sets are written.

    Attributes:
        columns: what a row must have, each with other names that it goes by.
        read: an example from a row whose columns have their own names; raises Unfit.
    """

    name: str
    columns: Mapping[str, tuple[str, ...]]
    read: Callable[[Values], Example]

    def names(self, row: Values) -> dict[str, str]:
        """For each column, the name it goes by in this row; without those that are missing."""
        found = {}
        for column, others in self.columns.items():
            name = next((each for each in (column, *others) if each in row), None)
            if name is not None:
                found[column] = name
        return found

    def example(
        self, row: Row, labels: Sequence[str] = (), blanks: Values = MappingProxyType({})
    ) -> Example | Malformed:
        """The example that a row makes, or what keeps it from making one.

        Args:
            blanks: columns that it may lack or have empty, with what then stands there.
        """
        names = self.names(row.values)
        own = {**row.values, **{column: row.values[name] for column, name in names.items()}}
        own |= {column: blank for column, blank in blanks.items() if own.get(column) in (None, "")}
        try:
            for column in self.columns:
                if column not in own:
                    raise _missing(column, row.values)
            example = self.read(own)
            if labels and isinstance(example, Labelled | LabelledImage):
                _known(example.label, labels)
        except Unfit as unfit:
            return Malformed(row.where, unfit.what, unfit.fix)
        return example


def shape_of(row: Values, blanks: Mapping[str, Values] | None = None) -> Shape | None:
    """The first shape whose columns a row has.

    Args:
        blanks: the only shapes there may be, each with columns that it may lack.
    """
    for each in SHAPES:
        if blanks is None or each.name in blanks:
            missing = each.columns.keys() - each.names(row).keys()
            if missing <= (blanks or {}).get(each.name, {}).keys():
                return each
    return None


def _missing(column: str, row: Values) -> Unfit:
    near = difflib.get_close_matches(column, [key for key in row if isinstance(key, str)], n=1)
    hint = f"Rename '{near[0]}'." if near else f"The row has: {', '.join(map(str, row)) or '-'}."
    return Unfit(f"'{column}' is missing", hint)


def _known(label: str, labels: Sequence[str]) -> None:
    if label not in labels:
        raise Unfit(
            f"'label' is \"{label}\"; expected one of {', '.join(labels)}",
            "Correct the row, or name the label too.",
        )


def _text(values: Values, column: str, *, empty: bool = False) -> str:
    value = values[column]
    if not isinstance(value, str):
        kind = "null" if value is None else type(value).__name__
        raise Unfit(f"'{column}' is {kind}, not text", "Write a string.")
    if not empty and not value.strip():
        raise Unfit(f"'{column}' is empty", "Fill it in, or remove the row.")
    _encodable(value, column)
    return value


def _encodable(value: str, column: str) -> None:
    """JSON can spell half a character, which no tokenizer takes."""
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise Unfit(
            f"'{column}' holds half of a character (a lone surrogate)",
            "Correct the escapes, as \\ud83d\\ude00 for one character.",
        ) from error


def _label(values: Values) -> str:
    value = values["label"]
    if isinstance(value, bool | int):
        return str(int(value))
    return _text(values, "label").strip()


def _number(values: Values, column: str) -> float:
    try:
        number = float(values[column])
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise Unfit(f"'{column}' is {values[column]!r}, not a number", "Write a number.")
    return number


def _messages(values: Values) -> Conversation:
    return _conversation(values["messages"], "messages", "role", "content", values)


def _sharegpt(values: Values) -> Conversation:
    return _conversation(values["conversations"], "conversations", "from", "value", values)


def _conversation(
    turns: Any, column: str, role_key: str, text_key: str, values: Values
) -> Conversation:
    if not isinstance(turns, list) or not turns:
        raise Unfit(f"'{column}' is not a list of turns", f"Write [{{'{role_key}': ...}}, ...].")
    messages = _system(values) + [
        _message(turn, f"{column}[{number}]", role_key, text_key)
        for number, turn in enumerate(turns)
    ]
    if any(each.role == "system" for each in messages[1:]):
        raise Unfit(f"'{column}' has a system turn that is not the first", "Put it first.")
    turns_taken = [each.role for each in messages if each.role != "system"]
    if "assistant" not in turns_taken:
        raise Unfit(f"'{column}' has no turn of the assistant", "Add what is to be learnt.")
    for number, (before, after) in enumerate(pairwise(turns_taken), 1):
        if before == after != "tool":  # several calls have several answers
            raise Unfit(
                f"'{column}' has two turns of the {before} in a row, after turn {number}",
                "Join them, or add what is missing between them.",
            )
    return Conversation(tuple(messages))


def _system(values: Values) -> list[Message]:
    """The system's message, where a row has it in a column of its own."""
    return [Message("system", _text(values, "system"))] if values.get("system") else []


def _message(turn: Any, where: str, role_key: str, text_key: str) -> Message:
    if not isinstance(turn, dict) or role_key not in turn or text_key not in turn:
        raise Unfit(
            f"'{where}' lacks '{role_key}' or '{text_key}'",
            f"Write {{'{role_key}': ..., '{text_key}': ...}}.",
        )
    role = _ROLES.get(str(turn[role_key]))
    if role is None:
        raise Unfit(
            f"'{where}' has the role \"{turn[role_key]}\"; expected one of {', '.join(_ROLES)}",
            "Correct the role.",
        )
    content = turn[text_key]
    if not isinstance(content, str) or (role == "assistant" and not content.strip()):
        raise Unfit(f"'{where}' has no text in '{text_key}'", "Fill it in, or remove the row.")
    _encodable(content, where)
    return Message(role, content)


def _alpaca(values: Values) -> Conversation:
    request = _text(values, "instruction")
    if values.get("input"):
        request = f"{request}\n{_text(values, 'input')}"
    turns = _system(values)
    for request_before, answer in _history(values.get("history") or []):
        turns += [Message("user", request_before), Message("assistant", answer)]
    turns += [Message("user", request), Message("assistant", _text(values, "output"))]
    return Conversation(tuple(turns))


def _history(given: Any) -> list[tuple[str, str]]:
    """Earlier requests, each with its answer."""
    pairs = []
    for each in given if isinstance(given, list | tuple) else [given]:
        match each:
            case [str() as request, str() as answer]:
                pairs.append((request, answer))
            case _:
                raise Unfit("'history' is not a list of [request, answer]", "Write pairs of texts.")
    return pairs


def _pair(values: Values) -> Pair:
    return Pair(_text(values, "source", empty=True), _text(values, "target"))


def _labelled(values: Values) -> Labelled:
    return Labelled(_text(values, "text"), _label(values))


def _image(values: Values) -> LabelledImage:
    return LabelledImage(Path(_text(values, "image")), _label(values))


def _scored(values: Values) -> Scored:
    first, second = _text(values, "text1"), _text(values, "text2")
    return Scored(first, second, _number(values, "score"))


def _match(values: Values) -> Match:
    given = values.get("negatives", values.get("negative")) or ()
    negatives = tuple(given) if isinstance(given, list | tuple) else (given,)
    if not all(isinstance(each, str) and each.strip() for each in negatives):
        raise Unfit("'negatives' holds something that is not text", "Write a list of texts.")
    return Match(_text(values, "query"), _text(values, "positive"), negatives)


def _span(values: Values) -> Span:
    context = _text(values, "context")
    given = values["answers"]
    if isinstance(given, dict):  # as `datasets` keeps SQuAD
        texts, starts = given.get("text"), given.get("answer_start")
    else:
        texts, starts = given, values.get("answer_starts")
    if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
        raise Unfit(
            "'answers' and their starts are not two lists of one length",
            "Write answers: [text], answer_starts: [offset].",
        )
    for text, start in zip(texts, starts, strict=True):
        if not isinstance(text, str) or not text.strip():
            raise Unfit(f"the answer {text!r} is no text", "Write a string that is not empty.")
        if not isinstance(start, int) or start < 0 or not context.startswith(text, start):
            raise Unfit(
                f'the answer "{text}" does not stand in the context at {start}',
                "Correct the offset; it counts characters from 0.",
            )
    # Spaces around an answer are no part of it, and of no token.
    pairs = zip(texts, starts, strict=True)
    places = tuple(start + len(text) - len(text.lstrip()) for text, start in pairs)
    answers = tuple(text.strip() for text in texts)
    return Span(_text(values, "question"), context, answers, places)


# The most particular first: a row is read as the first shape whose columns it has.
SHAPES = (
    Shape("messages", {"messages": ()}, _messages),
    Shape("sharegpt", {"conversations": ("conversation",)}, _sharegpt),
    Shape("alpaca", {"instruction": (), "output": ("response",)}, _alpaca),
    Shape("span", {"question": (), "context": (), "answers": ()}, _span),
    Shape(
        "scored",
        {"text1": ("sentence1", "first"), "text2": ("sentence2", "second"), "score": ()},
        _scored,
    ),
    Shape("match", {"query": ("anchor",), "positive": ()}, _match),
    Shape(
        "pair",
        {
            "source": ("prompt", "question", "input"),
            "target": ("completion", "response", "answer", "output"),
        },
        _pair,
    ),
    Shape("image", {"image": (), "label": ("class",)}, _image),
    Shape(
        "labelled",
        {
            "text": ("sentence", "review", "content"),
            "label": ("labels", "category", "intent", "sentiment", "class"),
        },
        _labelled,
    ),
    Shape("text", {"text": ("content",)}, lambda values: Text(_text(values, "text"))),
)
