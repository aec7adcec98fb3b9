"""The formats of data sets: for each, its columns and how an example is read from them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from moli.records.examples import (
    Conversation,
    Labelled,
    LabelledImage,
    LabelledPair,
    Match,
    MultiLabelled,
    Pair,
    Scored,
    Span,
    Text,
)
from moli.records.messages import STRICT_JSON, Message
from moli.workspace.datasets.alpaca import alpaca_request
from moli.workspace.datasets.columns import DatasetFormat
from moli.workspace.datasets.conversations import (
    add_missing_answer,
    is_turns,
    read_conversation,
    read_prompt_and_answer,
    system_messages,
)
from moli.workspace.datasets.fields import (
    RowError,
    Values,
    check_encodable,
    number_of,
    text_of,
)
from moli.workspace.datasets.labels import classes_of, read_label, read_labels
from moli.workspace.datasets.preference_formats import PREFERENCES
from moli.workspace.datasets.tools import decode_json

_SYSTEM = ("system_prompt",)

MESSAGES = DatasetFormat(
    "messages",
    Conversation,
    {"messages": ("conversations", "conversation")},
    read_conversation,
    {"system": _SYSTEM, "tools": ()},
    add_missing_answer,
)


def _read_alpaca(values: Values) -> Conversation:
    """A request with its input, after earlier requests, and the answer."""
    answer = Message("assistant", text_of(values, "output"))
    return Conversation((*system_messages(values), *alpaca_request(values), answer))


ALPACA = DatasetFormat(
    "alpaca",
    Conversation,
    {"instruction": ("query",), "output": ("response",)},
    _read_alpaca,
    {"system": _SYSTEM, "input": ("context",), "history": ()},
)


def _read_span(values: Values) -> Span:
    """A question, a context, and the answers in it."""
    context = text_of(values, "context")
    answers = decode_json(values["answers"])
    if isinstance(answers, dict):  # as `datasets` stores SQuAD
        texts, starts = answers.get("text"), answers.get("answer_start")
    elif isinstance(answers, list) and answers and isinstance(answers[0], dict):  # SQuAD's own file
        texts = [answer.get("text") for answer in answers if isinstance(answer, dict)]
        starts = [answer.get("answer_start") for answer in answers if isinstance(answer, dict)]
    else:
        texts, starts = answers, values.get("answer_starts", None if answers else [])
    if not isinstance(texts, list) or not isinstance(starts, list) or len(texts) != len(starts):
        raise RowError(
            f"'{values.name('answers')}' and their starts are not lists of the same length",
            f"Write {values.name('answers')}: [text], {values.name('answer_starts')}: [offset].",
        )
    for text, start in zip(texts, starts, strict=True):
        if not isinstance(text, str) or not text.strip():
            raise RowError(f"the answer {text!r} is not text", "Write a non-empty string.")
        if not isinstance(start, int) or start < 0 or not context.startswith(text, start):
            raise RowError(
                f'the answer "{text}" is not in the context at {start}',
                "Correct the offset; it counts characters from 0.",
            )
    # Spaces around an answer are no part of it, and of no token.
    pairs = zip(texts, starts, strict=True)
    offsets = tuple(start + len(text) - len(text.lstrip()) for text, start in pairs)
    stripped = tuple(text.strip() for text in texts)
    return Span(text_of(values, "question"), context, stripped, offsets)


SPAN = DatasetFormat(
    "span",
    Span,
    {"question": (), "context": (), "answers": ()},
    _read_span,
    {"answer_starts": ()},
)


def _read_scored(values: Values) -> Scored:
    """Two texts and their similarity."""
    first, second = text_of(values, "text1"), text_of(values, "text2")
    return Scored(first, second, number_of(values, "score"))


SCORED = DatasetFormat(
    "scored",
    Scored,
    {"text1": ("sentence1", "first"), "text2": ("sentence2", "second"), "score": ()},
    _read_scored,
)


def _read_match(values: Values) -> Match:
    """A query, its positive, and its negatives."""
    columns = _negative_columns(values)
    negatives = tuple(text for column in columns for text in _texts(values, column))
    positive = values["positive"]
    if isinstance(positive, list) and len(positive) == 1:
        values = Values({**values, "positive": positive[0]}, {"positive": values.name("positive")})
    return Match(text_of(values, "query"), text_of(values, "positive"), negatives)


def _negative_columns(values: Values) -> list[str]:
    """Names of columns that may hold negatives: negatives, negative, negative_1, negative_2, ..."""
    numbered = [name for name in values if re.fullmatch(r"negative_[0-9]+", name)]
    return ["negatives", "negative", *sorted(numbered, key=lambda name: (len(name), name))]


def _texts(values: Values, column: str) -> list[str]:
    """The texts in a column that is missing, a text, a list of texts, or the JSON of a list."""
    value, name = values.get(column), values.name(column)
    if value in (None, ""):
        return []
    texts = _as_list(value)
    for text in texts:
        if not isinstance(text, str) or not text.strip():
            raise RowError(
                f"'{name}' contains something that is not text", "Write a list of texts."
            )
        check_encodable(text, name)
    return texts


def _as_list(value: Any) -> list[Any]:
    """A list itself, the list that a text is the JSON of, or a list of the value alone."""
    if isinstance(value, str) and value.lstrip().startswith("["):
        try:
            return _as_list(STRICT_JSON.decode(value))
        except (ValueError, RecursionError):
            pass  # then it is a text that begins with a bracket
    return value if isinstance(value, list) else [value]


MATCH = DatasetFormat(
    "match",
    Match,
    {"query": ("anchor",), "positive": ("pos",)},
    _read_match,
    {"negative": ("neg",), "negatives": ()},
)


def _read_pair(values: Values) -> Pair | Conversation:
    """A source, which may be blank, and a target; a conversation if they are turns."""
    if is_turns(values["source"]) or is_turns(values["target"]):
        return read_prompt_and_answer(values)
    return Pair(text_of(values, "source", empty=True), text_of(values, "target"))


PAIR = DatasetFormat(
    "pair",
    Pair,
    {
        "source": ("prompt", "question", "input"),
        "target": ("completion", "response", "answer", "output"),
    },
    _read_pair,
    {"tools": ()},
)


def _read_image(values: Values) -> LabelledImage:
    """An image file, by its path, and its class."""
    label = read_label(values["label"], values.name("label"))
    path = Path(text_of(values, "image"))
    return LabelledImage(path, label, classes=classes_of(values["label"]))


IMAGE = DatasetFormat("image", LabelledImage, {"image": (), "label": ("class",)}, _read_image)


def _read_labelled(values: Values) -> Labelled:
    """The text and its label in a row."""
    label = read_label(values["label"], values.name("label"))
    return Labelled(text_of(values, "text"), label, classes=classes_of(values["label"]))


_TEXT_NAMES = ("sentence", "review", "content")
_LABEL_NAMES = ("labels", "category", "intent", "sentiment", "class")

LABELLED = DatasetFormat(
    "labelled", Labelled, {"text": _TEXT_NAMES, "label": _LABEL_NAMES}, _read_labelled
)


def _read_multi_labelled(values: Values) -> MultiLabelled:
    """The text and all its labels in a row."""
    labels = read_labels(values["labels"], values.name("labels"))
    return MultiLabelled(text_of(values, "text"), labels, classes=classes_of(values["labels"]))


MULTI_LABELLED = DatasetFormat(
    "multi_labelled",
    MultiLabelled,
    {"text": _TEXT_NAMES, "labels": ("label", "tags", "categories", *_LABEL_NAMES[1:])},
    _read_multi_labelled,
)


def _pair_format(first: str, second: str) -> DatasetFormat:
    """The format of two texts, in columns of these names, and the class of their relation."""

    def read(values: Values) -> LabelledPair:
        label = read_label(values["label"], values.name("label"))
        classes = classes_of(values["label"])
        return LabelledPair(text_of(values, first), text_of(values, second), label, classes)

    columns = {first: (), second: (), "label": (*_LABEL_NAMES, "gold_label", "is_duplicate")}
    return DatasetFormat("labelled_pair", LabelledPair, columns, read)


# As GLUE, SNLI, CLUE and others name the columns.
LABELLED_PAIRS = tuple(
    _pair_format(first, second)
    for first, second in (
        ("text", "text_pair"),
        ("premise", "hypothesis"),
        ("sentence1", "sentence2"),
        ("question1", "question2"),
        ("question", "sentence"),
        ("text1", "text2"),
        ("text_a", "text_b"),
    )
)


def _read_text(values: Values) -> Text:
    """The plain text in a row."""
    return Text(text_of(values, "text"))


TEXT = DatasetFormat("text", Text, {"text": ("content",)}, _read_text)

# The most particular first: a row is read in the first format whose columns it has.
FORMATS = (
    MESSAGES,
    ALPACA,
    SPAN,
    SCORED,
    MATCH,
    PAIR,
    IMAGE,
    *LABELLED_PAIRS,
    LABELLED,
    MULTI_LABELLED,
    TEXT,
    *PREFERENCES,
)
