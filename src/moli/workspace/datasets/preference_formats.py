"""The formats of data sets that compare or rate answers; tasks that learn from them look for these.

Rows are pairs of a chosen and a rejected answer, two answers and which is better, several answers
with scores, or one answer with a rating.
"""

from __future__ import annotations

from collections.abc import Mapping
from itertools import combinations
from typing import Any

from moli.records.errors import InputError
from moli.records.examples import Preference, RatedAnswer
from moli.workspace.datasets.answers import (
    read_preference,
    read_rated,
    read_truth,
    truth_or_none,
)
from moli.workspace.datasets.columns import DatasetFormat, same_name
from moli.workspace.datasets.fields import Row, RowError, Values, number_of

# Columns of the prompt. It may also be in front of the answers, or in OpenAI's `input`.
_PROMPT: Mapping[str, tuple[str, ...]] = {
    "prompt": ("question", "instruction", "query", "context"),
    "messages": ("conversations", "conversation"),
    "system": ("system_prompt",),
    "input": (),
    "history": (),
    "tools": (),
}
_TAGS: Mapping[str, tuple[str, ...]] = {
    "margin": (),
    "score_chosen": ("chosen_score", "chosen_rating", "chosen_avg_rating"),
    "score_rejected": ("rejected_score", "rejected_rating", "rejected_avg_rating"),
    "chosen_is_safe": ("chosen_safe", "is_chosen_safe", "is_safe_chosen"),
    "rejected_is_safe": ("rejected_safe", "is_rejected_safe", "is_safe_rejected"),
    "prompt_is_unsafe": ("prompt_unsafe", "is_prompt_unsafe", "is_safety"),
}
_CHOSEN = (
    *("chosen_response", "response_chosen", "chosen_answer", "preferred_output", "preferred"),
    *("pos_resp", "winner", "accepted", "response", "output", "completion", "answer"),
)
_REJECTED = (
    *("rejected_response", "response_rejected", "rejected_answer", "non_preferred_output"),
    *("dispreferred", "neg_resp", "loser", "reject"),
)
_RATING = (
    *("kto_tag", "is_good", "desirable", "thumb", "thumbs", "feedback", "rating"),
    *("is_safe", "safe", "is_response_safe"),
)
# Keys of an entry in a list of answers.
_TEXT_KEYS = ("response", "text", "answer", "content", "completion", "output")
_SCORE_KEYS = ("overall_score", "score", "rating", "reward")


def is_unsafe_prompt(row: Row, mapping: Mapping[str, str]) -> bool:
    """Whether a row of any format tags its prompt as unsafe.

    Args:
        mapping: Moli's column names to the data set's, as the user gave them.

    Raises:
        InputError: the tag is neither yes nor no.
    """
    column = "prompt_is_unsafe"
    known = (column, *_TAGS[column])
    name = same_name([mapping[each] for each in known if each in mapping] or known, row.values)
    if name is None:
        return False
    values = Values({column: row.values[name]}, {column: name})
    try:
        return truth_or_none(values, column, inverted=True) is True
    except RowError as error:
        raise InputError(error.what, where=row.where, fix=error.fix) from error


PAIRED = DatasetFormat(
    "paired",
    Preference,
    {"chosen": _CHOSEN, "rejected": _REJECTED},
    read_preference,
    {**_PROMPT, **_TAGS},
)


def _read_rejected_beside_messages(values: Values) -> Preference:
    """A conversation with the better answer as its end, and the worse one by itself."""
    names = {"chosen": values.name("messages"), "rejected": values.name("rejected_messages")}
    columns = {"chosen": values["messages"], "rejected": values["rejected_messages"]}
    return read_preference(values.with_columns(columns, names))


# As ms-swift has pairs.
WITH_REJECTED = DatasetFormat(
    "messages_with_rejected",
    Preference,
    {
        "messages": ("conversations", "conversation"),
        "rejected_messages": ("rejected_response", "rejected"),
    },
    _read_rejected_beside_messages,
    {**_TAGS, **{name: _PROMPT[name] for name in ("system", "tools")}},
)


def _compared_format(first: str, second: str) -> DatasetFormat:
    """The format of two answers in columns with these names, and which of them is better."""
    safe = {name: f"is_{name}_safe" for name in (first, second)}

    def read(values: Values) -> Preference:
        """The better answer and the other one."""
        chosen = _better(values, first, second)
        rejected = second if chosen == first else first
        names = {"chosen": values.name(chosen), "rejected": values.name(rejected)}
        columns = {"chosen": values[chosen], "rejected": values[rejected]}
        for side, answer in (("chosen", chosen), ("rejected", rejected)):
            columns[f"{side}_is_safe"] = values.get(safe[answer])
            names[f"{side}_is_safe"] = values.name(safe[answer])
        return read_preference(values.with_columns(columns, names))

    better = ("better_response_id", "winner", "preference", "preferred", "choice")
    columns = {first: (), second: (), "better": (*better, "safer_response_id")}
    unsafe = {"prompt_is_unsafe": _TAGS["prompt_is_unsafe"], "margin": ()}
    optional = {**_PROMPT, **unsafe, **dict.fromkeys(safe.values(), ())}
    return DatasetFormat("compared", Preference, columns, read, optional)


def _better(values: Values, first: str, second: str) -> str:
    """The column of the better one of two answers.

    Raises:
        RowError: neither is named, as in a tie.
    """
    value, name = values["better"], values.name("better")
    text = str(int(value) if isinstance(value, float) and value.is_integer() else value)
    for column in (first, second):
        suffix = column.rpartition("_")[2]
        if text.strip().casefold() in (column, suffix, f"model_{suffix}"):
            return column
    suffixes = " or ".join(column.rpartition("_")[2] for column in (first, second))
    if text.strip().casefold().startswith(("tie", "both", "neither")):
        raise RowError(f"'{name}' is \"{text}\": neither answer is better", "Remove the row.")
    raise RowError(f"'{name}' is \"{text}\", which names no answer", f"Write {suffixes}.")


# As PKU-SafeRLHF, AlpacaEval and Chatbot Arena name the columns.
COMPARED = tuple(
    _compared_format(first, second)
    for first, second in (
        ("response_0", "response_1"),
        ("response_1", "response_2"),
        ("response_a", "response_b"),
        ("answer_a", "answer_b"),
        ("output_1", "output_2"),
        ("conversation_a", "conversation_b"),
    )
)


def _read_scored_answers(values: Values) -> tuple[Preference, ...]:
    """All pairs of answers to one prompt with different scores; the margin is their difference."""
    name = values.name("completions")
    scored = sorted(_scored_answers(values), key=lambda pair: -pair[0])
    pairs = [(one, other) for one, other in combinations(scored, 2) if one[0] > other[0]]
    if not pairs:
        raise RowError(
            f"no answer in '{name}' is better than another",
            "Give scores that differ, or remove the row.",
        )
    return tuple(
        read_preference(
            values.with_columns(
                {"chosen": chosen, "rejected": rejected, "margin": better - worse},
                {"chosen": name, "rejected": name},
            )
        )
        for (better, chosen), (worse, rejected) in pairs
    )


def _scored_answers(values: Values) -> list[tuple[float, Any]]:
    """Scores and answers, from entries with both, or from a list of each."""
    name, answers, scores = values.name("completions"), values["completions"], values.get("scores")
    if not isinstance(answers, list) or len(answers) < 2:
        raise RowError(f"'{name}' is not a list of at least two answers", "Write a list.")
    if isinstance(scores, list) and len(scores) == len(answers):
        entries = [
            {"score": score, "text": text} for score, text in zip(scores, answers, strict=True)
        ]
    else:
        entries = answers
    scored = []
    for number, entry in enumerate(entries):
        keys = entry if isinstance(entry, dict) else {}
        text = next((key for key in _TEXT_KEYS if key in keys), "")
        score = next((key for key in _SCORE_KEYS if keys.get(key) is not None), "")
        if not text or not score:
            raise RowError(
                f"'{name}[{number}]' lacks an answer or its score",
                'Write {"response": ..., "score": ...}, or add a list of \'scores\'.',
            )
        place = Values({score: keys[score]}, {score: f"{name}[{number}].{score}"})
        scored.append((number_of(place, score), keys[text]))
    return scored


# As UltraFeedback has several answers with scores.
SCORED_ANSWERS = DatasetFormat(
    "scored_answers",
    Preference,
    {
        "prompt": _PROMPT["prompt"],
        "completions": ("responses", "answers", "candidates", "generations"),
    },
    _read_scored_answers,
    {**{name: _PROMPT[name] for name in ("system", "input", "history")}, "scores": ("ratings",)},
)


def _read_rated_messages(values: Values) -> RatedAnswer:
    """A conversation whose last answer is rated."""
    return read_rated(
        values.with_columns({"answer": values["messages"]}, {"answer": values.name("messages")}),
        is_good=read_truth(values, "label"),
    )


RATED_MESSAGES = DatasetFormat(
    "rated_messages",
    RatedAnswer,
    {"messages": ("conversations", "conversation"), "label": _RATING},
    _read_rated_messages,
    {name: _PROMPT[name] for name in ("system", "tools")},
)


def _read_rated_answer(values: Values) -> RatedAnswer:
    """A prompt and one rated answer."""
    answer, name = values["completion"], values.name("completion")
    values_with_answer = values.with_columns({"answer": answer}, {"answer": name})
    return read_rated(values_with_answer, is_good=read_truth(values, "label"))


RATED = DatasetFormat(
    "rated",
    RatedAnswer,
    {"completion": ("response", "output", "answer", "reply"), "label": _RATING},
    _read_rated_answer,
    _PROMPT,
)

# The most particular first.
PREFERENCES = (PAIRED, WITH_REJECTED, *COMPARED, SCORED_ANSWERS, RATED_MESSAGES, RATED)
