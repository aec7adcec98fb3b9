"""Answers in texts: tokens that hold them, windows, and the way back to characters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from moli.records.examples import Span
from moli.training.recipes.recipe import make_recipe
from moli.training.tasks import make_task
from moli.training.tasks.span import AnswerSpan, Window, _best_span

TEXT = (
    "The lamp was made in Vienna by Anna Huber, who sold 4,200 of them between 1907 and 1911. "
    "Later lamps came from Graz."
)


def task_of(**values: Any) -> Any:
    return make_task(make_recipe({"task": "span", "data": "unused.jsonl", **values}))


def span(question: str, answer: str) -> Span:
    return Span(question, TEXT, (answer,), (TEXT.index(answer),))


@pytest.mark.slow
@pytest.mark.parametrize("answer", ["Vienna", "Anna Huber", "4,200", "1907", "Graz"])
def test_the_tokens_of_an_answer_are_its_characters(answer: str) -> None:
    task = task_of()
    ((sample,),) = task.samples([span("Which one?", answer)], training=False)
    window = sample.target
    assert TEXT[window.offsets[window.start, 0] : window.offsets[window.end, 1]] == answer


def test_of_the_windows_only_those_with_the_whole_answer_have_it() -> None:
    task = task_of(max_length=24)
    (group,) = task.samples([span("Where are later ones from?", "Graz")], training=False)
    assert len(group) > 2
    assert all(each.size <= 24 for each in group)
    has = [each.target.start > 0 for each in group]
    assert has[-1]
    assert not has[0]
    covered = {tuple(pair) for each in group for pair in each.target.offsets.tolist()}
    whole = task.samples([span("Where are later ones from?", "Graz")], training=False)
    assert covered >= {tuple(pair) for pair in whole[0][0].target.offsets.tolist()}


def test_the_best_span_is_that_of_an_exhaustive_search() -> None:
    generator = np.random.default_rng(0)
    for _ in range(20):
        known = torch.log_softmax(torch.as_tensor(generator.normal(size=(60, 2))), 0)
        window = Window(10, 0, 0, np.stack([np.arange(60), np.arange(1, 61)], 1))
        pairs = {
            (start, end): float(known[start, 0] + known[end, 1])
            for start in range(10, 59)
            for end in range(start, min(start + 30, 59))
        }
        start, end = max(pairs, key=pairs.__getitem__)
        actual = _best_span(known, window)
        assert (actual.start, actual.end) == (start, end + 1)
        assert actual.score == pytest.approx(pairs[start, end])


@pytest.mark.slow
def test_losses_are_those_of_transformers_own_head() -> None:
    task = task_of(method="full", precision="fp32")
    torch.manual_seed(0)
    model = task.build(torch.float32).eval()
    groups = task.samples([span("Where?", "Vienna"), span("Who?", "Anna Huber")], training=True)
    samples = [each for group in groups for each in group]
    with torch.no_grad():
        ours = task.losses(task.forward(model, samples), samples)
        scores = task.forward(model, samples)
    for sample, loss, of_each in zip(samples, ours, scores, strict=True):
        window, ids = sample.target, torch.as_tensor(sample.sequences[0].astype(np.int64))[None]
        types = (torch.arange(ids.shape[1]) >= window.context_start).long()[None]
        with torch.no_grad():
            theirs = model(input_ids=ids, token_type_ids=types)
        logits = torch.stack([theirs.start_logits[0], theirs.end_logits[0]], 1).double()
        allowed = torch.arange(len(logits)) >= window.context_start
        allowed[0], allowed[-1] = True, False
        logits[~allowed] = -torch.inf
        known = torch.log_softmax(logits, 0)
        expected = -(known[window.start, 0] + known[window.end, 1]) / 2
        assert float(loss) == pytest.approx(float(expected), abs=1e-5)
        assert torch.isinf(of_each[len(logits) :]).all()


@pytest.mark.slow
def test_a_reader_learns_to_find_the_number(tmp_path: Path) -> None:
    """Through the whole way, from rows to exact answers."""
    import json
    import random

    from moli.training.setup.prepared import prepare

    draw = random.Random(0)
    words = ["lamp", "river", "garden", "stone", "winter", "bridge", "letter", "engine"]
    rows = []
    for _ in range(300):
        number = str(draw.randrange(10, 99))
        text = " ".join(
            [*draw.choices(words, k=draw.randint(2, 9)), number, *draw.choices(words, k=5)]
        )
        rows.append(
            {
                "question": "How many?",
                "context": text,
                "answers": [number],
                "answer_starts": [text.index(number)],
            }
        )
    data = tmp_path / "rows.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    recipe = make_recipe(
        {
            "task": "span",
            "data": data,
            "method": "lora",
            "learning_rate": 2e-3,
            "batch": 8,
            "epochs": 3,
            "dropout": 0.0,
        }
    )
    prepared = prepare(recipe, tmp_path, lambda _: None)
    prepared.loop.run()
    assert prepared.loop.evaluate is not None
    assert prepared.loop.evaluate().metrics["exact_match"] > 0.9


def test_a_text_without_an_answer_is_scored_by_whether_one_is_given() -> None:
    task = task_of()
    examples = [span("Who?", "Anna Huber"), Span("Who paid?", TEXT, (), ())]
    task.prepare(examples[:1])
    assert not task.refuses
    task.prepare(examples)
    assert task.refuses
    assert task.metrics(["Anna Huber", ""], examples) == {"f1": 1.0, "exact_match": 1.0}
    assert task.metrics(["Huber", "Vienna"], examples)["exact_match"] == 0.0


def test_no_answer_is_given_where_every_window_says_so_and_training_had_some() -> None:
    task = task_of()
    actual = [AnswerSpan(-2.0, 0, 3, -1.0), AnswerSpan(-3.0, 4, 8, -0.5)]
    example = Span("Who?", TEXT, (), ())
    assert task.aggregate(actual, example) == "The"
    task.refuses = True
    assert task.aggregate(actual, example) == ""
    assert task.aggregate([AnswerSpan(-0.1, 0, 3, -4.0), *actual[1:]], example) == "The"


def test_an_answer_that_no_window_holds_teaches_nothing() -> None:
    task = task_of(max_length=16)
    long = Span("Which?", TEXT, (TEXT[:80],), (0,))
    assert task.samples([long], training=True) == [[]]
    assert task.samples([long], training=False)[0]


def test_a_question_longer_than_its_room_is_cut_and_counted() -> None:
    task = task_of(max_length=64)
    question = "which " * 70
    ((sample,),) = task.samples([span(question, "Vienna")], training=True)
    assert sample.size <= 64 and sample.truncated_tokens == 70 - 32
    assert sample.target.start > 0
    long = Span(question, f"{TEXT} " * 5, ("Vienna",), (TEXT.index("Vienna"),))
    (windows,) = task.samples([long], training=True)
    assert [each.truncated_tokens for each in windows] == [70 - 32] + [0] * (len(windows) - 1)
    assert len(windows) > 1
