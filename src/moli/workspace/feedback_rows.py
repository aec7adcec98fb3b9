"""People's feedback on answers as rows of data sets: pairs of answers, and rated answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import product
from typing import Any

from moli.records.answers import Trace
from moli.records.errors import NotFoundError
from moli.records.exchanges import Choice, Exchange, Feedback
from moli.records.messages import Message, message_row, tool_row
from moli.workspace import Workspace

_PAGE = 1000  # feedback that is read at once


@dataclass(slots=True)
class FeedbackRows:
    """Rows in the layouts that data sets have.

    Attributes:
        pairs: a correction and the answer that was given, or a liked and a disliked answer to one
            request.
        ratings: answers with a thumb up or down.
    """

    pairs: list[dict[str, Any]] = field(default_factory=list)
    ratings: list[dict[str, Any]] = field(default_factory=list)


@dataclass(slots=True)
class _Opinion:
    """The newest rating and the newest correction of an answer; "" without one."""

    rating: str = ""
    correction: str = ""


def feedback_rows(workspace: Workspace) -> FeedbackRows:
    """All feedback of a workspace, of all tenants, in the order in which answers first got some.

    Of several ratings or corrections of an answer the newest counts. Feedback on answers that have
    been removed, and on those from documents that have been, is left out.
    """
    opinions: dict[str, dict[int, _Opinion]] = {}
    for feedback in _all_feedback(workspace):
        by_choice = opinions.setdefault(feedback.answer_id, {})
        opinion = by_choice.setdefault(feedback.choice, _Opinion())
        opinion.rating = feedback.rating or opinion.rating
        opinion.correction = feedback.correction or opinion.correction
    rows = FeedbackRows()
    for answer_id, by_choice in opinions.items():
        request = _request(workspace, answer_id)
        if request is None:
            continue
        shown, answers = request
        rated = {number: opinion for number, opinion in by_choice.items() if number < len(answers)}
        for number, opinion in rated.items():
            answer = answers[number]
            if opinion.rating:
                label = opinion.rating == "up"
                rows.ratings.append({**shown, "completion": [answer], "label": label})
            if opinion.correction.strip() not in ("", str(answer["content"]).strip()):
                edit = {"role": "assistant", "content": opinion.correction}
                rows.pairs.append({**shown, "chosen": [edit], "rejected": [answer]})
        liked, disliked = (
            [answers[number] for number, opinion in rated.items() if opinion.rating == rating]
            for rating in ("up", "down")
        )
        for better, worse in product(liked, disliked):
            if better != worse:
                rows.pairs.append({**shown, "chosen": [better], "rejected": [worse]})
    return rows


def _all_feedback(workspace: Workspace) -> Iterator[Feedback]:
    """All feedback, the oldest first."""
    after = 0
    while page := workspace.feedback.list(after=after, limit=_PAGE):
        yield from page
        after = page[-1].id


def _request(
    workspace: Workspace, answer_id: str
) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
    """The columns of a request, and the answers that were given to it; None if they are gone."""
    try:
        return _of_exchange(workspace.exchanges.get(answer_id))
    except NotFoundError:
        pass
    try:
        return _of_trace(workspace.traces.get(answer_id))
    except NotFoundError:
        return None


def _of_exchange(exchange: Exchange) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The conversation and the answers of a language model."""
    shown: dict[str, Any] = {"id": exchange.id, "prompt": list(map(message_row, exchange.messages))}
    if exchange.tools:
        shown["tools"] = list(map(tool_row, exchange.tools))
    return shown, [message_row(_message(choice)) for choice in exchange.choices]


def _of_trace(trace: Trace) -> tuple[dict[str, Any], list[dict[str, Any]]] | None:
    """The question and the answer from documents; None if it was not answered, or is redacted."""
    texts = [sentence.text for sentence in trace.sentences]
    if not trace.answered or not all(texts):
        return None
    prompt = [{"role": "user", "content": trace.question}]
    answer = {"role": "assistant", "content": " ".join(texts)}
    return {"id": trace.id, "prompt": prompt}, [answer]


def _message(choice: Choice) -> Message:
    """An answer as a turn."""
    return Message("assistant", choice.text, choice.calls)
