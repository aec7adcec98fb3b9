"""Prompts and answers in rows that compare or rate answers, in every shape that data have them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from moli.records.examples import Preference, RatedAnswer
from moli.records.messages import Message
from moli.workspace.datasets.alpaca import alpaca_request
from moli.workspace.datasets.conversations import conversation_of, is_turns, read_turns
from moli.workspace.datasets.fields import (
    RowError,
    Values,
    check_encodable,
    is_blank,
    number_of,
    text_of,
)
from moli.workspace.datasets.tools import Turn

# Turns in one text, as in Anthropic's data.
_SPEAKER = re.compile(r"(?:^|\n\n)[ \t]*(Human|Assistant):[ \t]*")
_YES = frozenset(
    [
        "true",
        "1",
        "1.0",
        "yes",
        "y",
        "good",
        "up",
        "thumbs_up",
        "thumbs-up",
        "like",
        "desirable",
        "chosen",
        "safe",
        "positive",
        "+",
        "👍",
        "是",
        "好",
        "赞",
        "点赞",
        "喜欢",
        "满意",
        "有用",
        "安全",
    ]
)
_NO = frozenset(
    [
        "false",
        "0",
        "0.0",
        "no",
        "n",
        "bad",
        "down",
        "thumbs_down",
        "thumbs-down",
        "dislike",
        "undesirable",
        "rejected",
        "unsafe",
        "negative",
        "-",
        "-1",
        "👎",
        "否",
        "不",
        "坏",
        "差",
        "踩",
        "点踩",
        "不好",
        "不喜欢",
        "不满意",
        "没用",
        "不安全",
    ]
)


def read_preference(values: Values) -> Preference:
    """The pair of answers in the columns `chosen` and `rejected`, with its prompt and its tags.

    Each side is a text, a turn or a list of turns. Sides that begin with the prompt share it.

    Raises:
        RowError: a side or the prompt is missing or empty, the sides are equal, an answer does not
            end with the assistant, or a tag has a value that it cannot have.
    """
    values = _with_openai_input(values)
    chosen, rejected = _answer_turns(values, "chosen"), _answer_turns(values, "rejected")
    if _texts(chosen) == _texts(rejected):
        better, worse = values.name("chosen"), values.name("rejected")
        fix = "Correct one of them, or remove the row."
        raise RowError(f"'{better}' and '{worse}' are equal", fix)
    if _is_whole(chosen) and _is_whole(rejected):
        start = _shared_length(chosen, rejected)
    else:
        start = _answer_start(chosen)
    prompt = chosen[:start] or rejected[: _answer_start(rejected)] or _prompt_turns(values)
    chosen = chosen[start:]
    rejected = rejected[start if _is_whole(rejected) and start else _answer_start(rejected) :]
    messages = _prompt_messages(values, prompt)
    return Preference(
        messages,
        _answer(values, prompt, chosen, len(messages), "chosen"),
        _answer(values, prompt, rejected, len(messages), "rejected"),
        _margin(values),
        truth_or_none(values, "chosen_is_safe"),
        truth_or_none(values, "rejected_is_safe"),
        truth_or_none(values, "prompt_is_unsafe", inverted=True),
        conversation_of(values, [*prompt, *chosen], values.name("chosen")).tools,
    )


def read_rated(values: Values, *, is_good: bool) -> RatedAnswer:
    """The answer in the column `answer`, with its prompt, which may be in front of it.

    Raises:
        RowError: the answer or the prompt is missing or empty, or the answer does not end with the
            assistant.
    """
    values = _with_openai_input(values)
    turns = _answer_turns(values, "answer")
    start = _answer_start(turns)
    prompt = turns[:start] or _prompt_turns(values)
    messages = _prompt_messages(values, prompt)
    answer = _answer(values, prompt, turns[start:], len(messages), "answer")
    return RatedAnswer(messages, answer, is_good)


def read_truth(values: Values, column: str, *, inverted: bool = False) -> bool:
    """The yes or no in a column, which may be a truth value, 0 or 1, or a word such as "up".

    Args:
        inverted: whether "unsafe" means yes.

    Raises:
        RowError: it is neither.
    """
    text = str(values[column]).strip().casefold()
    if inverted and text in ("safe", "unsafe"):
        return text == "unsafe"
    if text not in _YES | _NO:
        raise RowError(
            f"'{values.name(column)}' is \"{text}\", neither yes nor no",
            "Write true or false; of points or stars, decide which are good.",
        )
    return text in _YES


def truth_or_none(values: Values, column: str, *, inverted: bool = False) -> bool | None:
    """The yes or no in a column; None if it has no value."""
    value = values.get(column)
    if value in (None, "") or value != value:
        return None
    return read_truth(values, column, inverted=inverted)


def _margin(values: Values) -> float:
    """The margin of a pair: that of the row, or the difference of its scores; 0 without either."""
    if values.get("margin") not in (None, ""):
        margin, name = number_of(values, "margin"), values.name("margin")
        what = f"'{name}' is below 0"
    elif None not in (values.get("score_chosen"), values.get("score_rejected")):
        margin = number_of(values, "score_chosen") - number_of(values, "score_rejected")
        better, worse = values.name("score_chosen"), values.name("score_rejected")
        what = f"'{better}' is below '{worse}'"
    else:
        return 0.0
    if margin < 0:
        raise RowError(what, "Swap the two answers, or correct the number.")
    return margin


def _with_openai_input(values: Values) -> Values:
    """The values with messages and tools in columns of their own, where `input` holds both."""
    match values.get("input"):
        case {"messages": messages, **more}:
            columns = {"messages": messages, "tools": more.get("tools"), "input": None}
            return values.with_columns(columns, {"messages": f"{values.name('input')}.messages"})
    return values


def _answer_turns(values: Values, column: str) -> list[Turn]:
    """The turns of a side: those that it has, those in a text with speakers, or an answer alone."""
    value, name = values[column], values.name(column)
    if isinstance(value, list) and not value:
        raise RowError(f"'{name}' is empty", "Fill it in, or remove the row.")
    if isinstance(value, list) and isinstance(value[0], str):
        raise RowError(f"'{name}' is a list of texts, not one answer", "Write one text, or turns.")
    if is_turns(value) or isinstance(value, list):
        return read_turns(value, name)
    text = text_of(values, column)
    if text.lstrip().startswith("Human:") and "\n\nAssistant:" in text:
        return _turns_in_text(text, name)
    return [Turn(name, Message("assistant", text))]


def _prompt_turns(values: Values) -> list[Turn]:
    """The turns of a prompt in columns of its own.

    Raises:
        RowError: there is none.
    """
    if values.get("messages") is not None:
        return read_turns(values["messages"], values.name("messages"))
    if is_turns(values.get("prompt")):
        return read_turns(values["prompt"], values.name("prompt"))
    if "prompt" not in values and isinstance(values.get("input"), str):
        moved = {"prompt": values["input"], "input": None}  # as Argilla has pairs of Orca's
        values = values.with_columns(moved, {"prompt": values.name("input")})
    if "prompt" not in values:
        raise RowError(
            "the row has no prompt",
            "Add a column 'prompt', or map yours: `columns: {prompt: NAME}`.",
        )
    name = values.name("prompt")
    text = values["prompt"]
    if isinstance(text, str) and "\n\nAssistant:" in text and "Human:" in text:
        turns = _turns_in_text(text, name)
        is_open = len(turns) > 1 and turns[-1].message.role == "assistant"
        return turns[:-1] if is_open and is_blank(turns[-1].message.content) else turns
    return [Turn(name, message) for message in alpaca_request(values, "prompt")]


def _turns_in_text(text: str, name: str) -> list[Turn]:
    """The turns in a text with "Human:" and "Assistant:" in front of them; the first is Human's."""
    check_encodable(text, name)
    first, *parts = _SPEAKER.split(text.strip())
    turns = [("Human", first)] if first.strip() else []
    turns += zip(parts[::2], parts[1::2], strict=True)
    return [
        Turn(name, Message("user" if speaker == "Human" else "assistant", words.strip()))
        for speaker, words in turns
    ]


def _is_whole(turns: Sequence[Turn]) -> bool:
    """Whether turns are a conversation with its prompt, not an answer alone."""
    return turns[0].message.role != "assistant"


def _answer_start(turns: Sequence[Turn]) -> int:
    """Number of turns before the last answer; 0 if they are an answer alone."""
    users = [number for number, turn in enumerate(turns) if turn.message.role == "user"]
    return users[-1] + 1 if users and _is_whole(turns) else 0


def _shared_length(chosen: Sequence[Turn], rejected: Sequence[Turn]) -> int:
    """Number of turns that both conversations begin with, up to the last request among them."""
    count = 0
    for one, other in zip(chosen, rejected, strict=False):
        if one.message != other.message:
            break
        count += 1
    while count and chosen[count - 1].message.role == "assistant":
        count -= 1
    return count


def _texts(turns: Sequence[Turn]) -> list[Any]:
    """Roles, contents and calls of turns, without spaces around contents."""
    return [(turn.message.role, turn.message.content.strip(), turn.message.calls) for turn in turns]


def _prompt_messages(values: Values, prompt: Sequence[Turn]) -> tuple[Message, ...]:
    """The messages of a prompt, with the system message of the row.

    Raises:
        RowError: it asks nothing, or its turns are in no order.
    """
    users = [turn.message for turn in prompt if turn.message.role in ("user", "tool")]
    if not users or is_blank(users[-1].content):
        raise RowError("the prompt is empty", "Fill it in, or remove the row.")
    name = prompt[-1].where.partition("[")[0]
    return conversation_of(values, [*prompt, Turn(name, Message("assistant", "?"))], name).messages[
        :-1
    ]


def _answer(
    values: Values, prompt: Sequence[Turn], turns: Sequence[Turn], start: int, column: str
) -> tuple[Message, ...]:
    """The messages of an answer.

    Args:
        start: number of messages of the prompt.

    Raises:
        RowError: the answer is empty, or does not end with the assistant.
    """
    name = values.name(column)
    if not turns or turns[-1].message.role != "assistant":
        raise RowError(
            f"'{name}' does not end with the assistant's turn", "Add the answer, or remove the row."
        )
    last = turns[-1].message
    if is_blank(last.content) and not last.calls:
        raise RowError(f"'{name}' has an empty answer", "Fill it in, or remove the row.")
    return conversation_of(values, [*prompt, *turns], name).messages[start:]
