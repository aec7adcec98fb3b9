"""Rows to examples: which shape a data set has, and what is wrong with a row that lacks it."""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
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
from moli.records.messages import Message
from moli.workspace.datasets.conversations import (
    MESSAGES,
    SHAREGPT,
    ended,
    messages,
    sharegpt,
    system,
)
from moli.workspace.datasets.fields import Unfit, Values, text_of
from moli.workspace.datasets.rows import Row


@dataclass(frozen=True, slots=True)
class Shape:
    """A way that data sets are written.

    Attributes:
        columns: what a row must have, each with other names that it goes by.
        read: an example from a row whose columns have their own names; raises Unfit.
        answered: makes of a row's columns that are only a question some that `read` can read.
    """

    name: str
    columns: Mapping[str, tuple[str, ...]]
    read: Callable[[Values], Example]
    answered: Callable[[Values], Values] = dict

    def names(self, row: Values) -> dict[str, str]:
        """For each column, the name it goes by in this row; without those that are missing."""
        found = {}
        for column, others in self.columns.items():
            name = next((each for each in (column, *others) if each in row), None)
            if name is not None:
                found[column] = name
        return found

    def example(self, row: Row, blanks: Values | None = None) -> Example | Malformed:
        """The example that a row makes, or what keeps it from making one.

        Args:
            blanks: of a row that is a question, the columns that it may lack or have empty, with
                what then stands there.
        """
        names = self.names(row.values)
        own: Values = {**row.values, **{column: row.values[name] for column, name in names.items()}}
        if blanks is not None:
            lacking = {name: each for name, each in blanks.items() if own.get(name) in (None, "")}
            own = self.answered({**own, **lacking})
        try:
            for column in self.columns:
                if column not in own:
                    raise _missing(column, row.values)
            return self.read(own)
        except Unfit as unfit:
            return Malformed(row.where, unfit.what, unfit.fix)


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


def _label(values: Values) -> str:
    value = values["label"]
    if isinstance(value, bool | int):
        return str(int(value))
    return text_of(values, "label").strip()


def _number(values: Values, column: str) -> float:
    try:
        number = float(values[column])
    except (TypeError, ValueError):
        number = math.nan
    if not math.isfinite(number):
        raise Unfit(f"'{column}' is {values[column]!r}, not a number", "Write a number.")
    return number


def _alpaca(values: Values) -> Conversation:
    request = text_of(values, "instruction")
    if values.get("input"):
        request = f"{request}\n{text_of(values, 'input')}"
    turns = system(values)
    for request_before, answer in _history(values.get("history") or []):
        turns += [Message("user", request_before), Message("assistant", answer)]
    turns += [Message("user", request), Message("assistant", text_of(values, "output"))]
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
    return Pair(text_of(values, "source", empty=True), text_of(values, "target"))


def _labelled(values: Values) -> Labelled:
    return Labelled(text_of(values, "text"), _label(values))


def _image(values: Values) -> LabelledImage:
    return LabelledImage(Path(text_of(values, "image")), _label(values))


def _scored(values: Values) -> Scored:
    first, second = text_of(values, "text1"), text_of(values, "text2")
    return Scored(first, second, _number(values, "score"))


def _match(values: Values) -> Match:
    given = values.get("negatives", values.get("negative")) or ()
    negatives = tuple(given) if isinstance(given, list | tuple) else (given,)
    if not all(isinstance(each, str) and each.strip() for each in negatives):
        raise Unfit("'negatives' holds something that is not text", "Write a list of texts.")
    return Match(text_of(values, "query"), text_of(values, "positive"), negatives)


def _span(values: Values) -> Span:
    context = text_of(values, "context")
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
    return Span(text_of(values, "question"), context, answers, places)


# The most particular first: a row is read as the first shape whose columns it has.
SHAPES = (
    Shape("messages", {"messages": ()}, messages, partial(ended, *MESSAGES)),
    Shape("sharegpt", {"conversations": ("conversation",)}, sharegpt, partial(ended, *SHAREGPT)),
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
    Shape("text", {"text": ("content",)}, lambda values: Text(text_of(values, "text"))),
)
