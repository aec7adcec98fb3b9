from __future__ import annotations

from moli.records.examples import Example, Labelled, Located, Match, Span
from moli.training.data import split


def located(examples: list[Example]) -> list[Located]:
    return [Located(f"a.jsonl:{number}", each) for number, each in enumerate(examples)]


def test_what_is_about_the_same_text_is_on_the_same_side() -> None:
    contexts = [f"context {number}" for number in range(50)]
    spans: list[Example] = [Span(f"q{n}", each, (), ()) for each in contexts for n in range(5)]
    matches: list[Example] = [Match(each, f"p{n}") for each in contexts for n in range(3)]
    labelled: list[Example] = [Labelled(each, label) for each in contexts for label in "ab"]
    for examples, text in ((spans, "context"), (matches, "query"), (labelled, "text")):
        train, held_out = split(located(examples), 0.2, seed=0)
        sides = [{getattr(each.example, text) for each in side} for side in (train, held_out)]
        assert not sides[0] & sides[1]
        assert len(train) + len(held_out) == len(examples)
        assert abs(len(held_out) - 0.2 * len(examples)) <= 5


def test_equal_examples_are_judged_once_and_not_learnt() -> None:
    examples: list[Example] = [Labelled(f"t{number % 10}", "a") for number in range(40)]
    train, held_out = split(located(examples), 0.3, seed=1)
    assert len(held_out) == 3
    assert len(train) == 28
