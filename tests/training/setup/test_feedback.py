"""Feedback as training data: what a live server has been told, and what counts of it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from conformance.served import BASE, TALK, serving

from moli.records.answers import Fusion, Sentence, Trace
from moli.records.errors import InputError
from moli.records.examples import Example, Preference, RatedAnswer
from moli.records.exchanges import Choice, Exchange, Feedback
from moli.records.messages import Message
from moli.training.data import examples_of, read_data
from moli.training.recipes.recipe import Recipe, make_recipe
from moli.training.setup.feedback import with_feedback
from moli.workspace import Workspace

USER = Message("user", "Is the shop open?")


def recipe_of(tmp_path: Path, task: str = "reward", **values: Any) -> Recipe:
    data = str(tmp_path / "feedback")
    return make_recipe({"task": task, "data": data, "held_out": 0, **values})


def learnt(recipe: Recipe, workspace: Workspace) -> list[Example]:
    return examples_of(read_data(with_feedback(recipe, workspace), (Preference, RatedAnswer)).train)


def add_exchange(workspace: Workspace, name: str, *texts: str) -> None:
    choices = tuple(Choice(text, "stop", 1) for text in texts)
    workspace.exchanges.add(Exchange(
        name, time.time(), "chat", "m", "m", "", "", "", (USER,), choices, prompt_tokens=1
    ))  # fmt: skip


def said(text: str) -> tuple[Message, ...]:
    return (Message("assistant", text),)


@pytest.mark.slow
def test_feedback_that_a_server_is_given_is_learnt(tmp_path: Path) -> None:
    workspace = Workspace.init(tmp_path)
    with serving(workspace) as address, httpx.Client(base_url=address, timeout=60) as client:
        body = {"model": BASE, "messages": TALK, "max_tokens": 4}
        made = [client.post("/v1/chat/completions", json=body).json() for _ in range(2)]
        told: list[dict[str, Any]] = [
            {"rating": "down", "correction": "The sea is calm."},
            {"rating": "up"},
        ]
        for answer, feedback in zip(made, told, strict=True):
            sent = client.post("/v1/feedback", json={"id": answer["id"], **feedback})
            assert sent.status_code == 201
    examples = learnt(recipe_of(tmp_path), workspace)
    prompt = (Message("user", TALK[0]["content"]),)
    texts = [answer["choices"][0]["message"]["content"] for answer in made]
    assert examples == [
        Preference(prompt, said("The sea is calm."), said(texts[0])),
        RatedAnswer(prompt, said(texts[0]), is_good=False),
        RatedAnswer(prompt, said(texts[1]), is_good=True),
    ]


def test_the_newest_opinion_counts_and_answers_to_one_request_are_compared(tmp_path: Path) -> None:
    workspace = Workspace.init(tmp_path)
    add_exchange(workspace, "a" * 32, "Yes.", "No.")
    for choice, rating in ((0, "down"), (0, "up"), (1, "down")):
        workspace.feedback.add(Feedback("a" * 32, 1.0, choice, rating))  # type: ignore[arg-type]
    workspace.feedback.add(Feedback("a" * 32, 1.0, 0, correction=" Yes. "))  # says the same
    workspace.feedback.add(Feedback("gone", 1.0, rating="up"))
    assert learnt(recipe_of(tmp_path), workspace) == [
        Preference((USER,), said("Yes."), said("No.")),
        RatedAnswer((USER,), said("Yes."), is_good=True),
        RatedAnswer((USER,), said("No."), is_good=False),
    ]


def test_answers_from_documents_count_unless_their_texts_are_gone(tmp_path: Path) -> None:
    workspace = Workspace.init(tmp_path)
    for name, text in (("b" * 32, "Until six."), ("c" * 32, "")):
        sentences = (Sentence(text, supported=True),)
        workspace.traces.add(Trace(
            name, 1.0, "Until when?", "en", (), "e", Fusion("rrf", 0.5), "m", "", (), True, 0.9,
            sentences,
        ))  # fmt: skip
        workspace.feedback.add(Feedback(name, 1.0, rating="up"))
    question = (Message("user", "Until when?"),)
    assert learnt(recipe_of(tmp_path), workspace) == [
        RatedAnswer(question, said("Until six."), is_good=True)
    ]


def test_the_copy_of_a_run_stays_when_more_feedback_comes(tmp_path: Path) -> None:
    workspace = Workspace.init(tmp_path)
    add_exchange(workspace, "a" * 32, "Yes.")
    workspace.feedback.add(Feedback("a" * 32, 1.0, rating="up"))
    first = with_feedback(recipe_of(tmp_path), workspace).data
    assert first == with_feedback(recipe_of(tmp_path), workspace).data
    workspace.feedback.add(Feedback("a" * 32, 1.0, rating="down"))
    second = with_feedback(recipe_of(tmp_path), workspace).data
    assert isinstance(first, Path)
    assert isinstance(second, Path)
    assert first != second
    assert first.exists()


def test_feedback_is_one_of_several_data_sets_or_a_file(tmp_path: Path) -> None:
    workspace = Workspace.init(tmp_path)
    add_exchange(workspace, "a" * 32, "Yes.")
    workspace.feedback.add(Feedback("a" * 32, 1.0, rating="up"))
    other = tmp_path / "more.jsonl"
    other.write_text('{"prompt": "Hi", "completion": "Hello", "label": true}')
    recipe = recipe_of(tmp_path, data=[str(tmp_path / "feedback"), str(other)])
    assert len(learnt(recipe, workspace)) == 2
    (tmp_path / "feedback").mkdir()
    recipe = recipe_of(tmp_path)
    assert with_feedback(recipe, workspace) is recipe


def test_tasks_that_cannot_learn_from_it_say_so(tmp_path: Path) -> None:
    workspace = Workspace.init(tmp_path)
    with pytest.raises(InputError, match="has no feedback that the task reward learns from"):
        with_feedback(recipe_of(tmp_path), workspace)
    with pytest.raises(InputError, match="the task instruction does not learn from feedback"):
        with_feedback(recipe_of(tmp_path, "instruction"), workspace)
