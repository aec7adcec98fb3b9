"""What the columns of each format make: an example, or what keeps them from making one."""

from __future__ import annotations

import math
import re
import reprlib
from pathlib import Path
from typing import Any

from moli.records.examples import (
    Conversation,
    Labelled,
    LabelledImage,
    Match,
    Pair,
    Scored,
    Span,
    Text,
)
from moli.records.messages import STRICT_JSON, Message
from moli.workspace.datasets.conversations import system
from moli.workspace.datasets.fields import Unfit, Values, encodable, text_of


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
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        shown = reprlib.repr(values[column])  # a text of any length, or hundreds of digits
        fault = "not a number" if math.isnan(number) else "too large"
        raise Unfit(f"'{values.name(column)}' is {shown}, {fault}", "Write a number.")
    return number


def alpaca(values: Values) -> Conversation:
    """A request with its input, after earlier ones, and the answer."""
    request = text_of(values, "instruction")
    if values.get("input"):
        request = f"{request}\n{text_of(values, 'input')}"
    turns = system(values)
    for request_before, answer in _history(values):
        turns += [Message("user", request_before), Message("assistant", answer)]
    turns += [Message("user", request), Message("assistant", text_of(values, "output"))]
    return Conversation(tuple(turns))


def _history(values: Values) -> list[tuple[str, str]]:
    """Earlier requests, each with its answer."""
    given, name = values.get("history") or [], values.name("history")
    pairs = []
    for each in given if isinstance(given, list | tuple) else [given]:
        match each:
            case [str(), str() as answer] if not answer.strip():
                raise Unfit(f"'{name}' has an empty answer", "Fill it in, or remove the pair.")
            case [str() as request, str() as answer]:
                encodable(request, name)
                encodable(answer, name)
                pairs.append((request, answer))
            case _:
                raise Unfit(f"'{name}' is not a list of [request, answer]", "Write pairs of texts.")
    return pairs


def pair(values: Values) -> Pair:
    """A text and what follows it, or what it is turned into."""
    return Pair(text_of(values, "source", empty=True), text_of(values, "target"))


def labelled(values: Values) -> Labelled:
    """A text and its class."""
    return Labelled(text_of(values, "text"), _label(values))


def image(values: Values) -> LabelledImage:
    """An image file, by its path, and its class."""
    return LabelledImage(Path(text_of(values, "image")), _label(values))


def scored(values: Values) -> Scored:
    """Two texts and how alike they are."""
    first, second = text_of(values, "text1"), text_of(values, "text2")
    return Scored(first, second, _number(values, "score"))


def match(values: Values) -> Match:
    """A text, one that belongs to it, and those that do not."""
    negatives = tuple(each for column in _negatives(values) for each in _texts(values, column))
    return Match(text_of(values, "query"), text_of(values, "positive"), negatives)


def _negatives(values: Values) -> list[str]:
    """The columns of texts that do not match; sentence-transformers numbers them."""
    numbered = [name for name in values if re.fullmatch(r"negative_[0-9]+", name)]
    return ["negatives", "negative", *sorted(numbered, key=lambda name: (len(name), name))]


def _texts(values: Values, column: str) -> list[str]:
    """The texts in a column: none, one, a list, or its JSON, as a cell of a table has it."""
    given, name = values.get(column), values.name(column)
    if given in (None, ""):
        return []
    listed = _listed(given)
    for text in listed:
        if not isinstance(text, str) or not text.strip():
            raise Unfit(f"'{name}' contains something that is not text", "Write a list of texts.")
        encodable(text, name)
    return listed


def _listed(given: Any) -> list[Any]:
    """A list, or the one that a text is the JSON of; of anything else, one with nothing but it."""
    if isinstance(given, str) and given.lstrip().startswith("["):
        try:
            return _listed(STRICT_JSON.decode(given))
        except (ValueError, RecursionError):
            pass  # then it is a text that begins so
    return given if isinstance(given, list) else [given]


def span(values: Values) -> Span:
    """A question, a text, and the answers that stand in it."""
    context = text_of(values, "context")
    given = values["answers"]
    if isinstance(given, dict):  # as `datasets` keeps SQuAD
        texts, starts = given.get("text"), given.get("answer_start")
    else:
        texts, starts = given, values.get("answer_starts")
    if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
        raise Unfit(
            f"'{values.name('answers')}' and their starts are not lists of the same length",
            f"Write {values.name('answers')}: [text], {values.name('answer_starts')}: [offset].",
        )
    for text, start in zip(texts, starts, strict=True):
        if not isinstance(text, str) or not text.strip():
            raise Unfit(f"the answer {text!r} is not text", "Write a non-empty string.")
        if not isinstance(start, int) or start < 0 or not context.startswith(text, start):
            raise Unfit(
                f'the answer "{text}" is not in the context at {start}',
                "Correct the offset; it counts characters from 0.",
            )
    # Spaces around an answer are no part of it, and of no token.
    pairs = zip(texts, starts, strict=True)
    places = tuple(start + len(text) - len(text.lstrip()) for text, start in pairs)
    answers = tuple(text.strip() for text in texts)
    return Span(text_of(values, "question"), context, answers, places)


def text(values: Values) -> Text:
    """A text and nothing else."""
    return Text(text_of(values, "text"))
