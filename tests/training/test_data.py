from __future__ import annotations

import json
from pathlib import Path

from moli.records.examples import Example, Labelled, LabelledImage, LocatedExample, Match, Span
from moli.training.checks.inspection import find_repetitions
from moli.training.data import read_data, split
from moli.training.recipes.recipe import make_recipe


def located(examples: list[Example]) -> list[LocatedExample]:
    return [LocatedExample(f"a.jsonl:{number}", each) for number, each in enumerate(examples)]


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


def test_one_subject_is_left_to_learn_from() -> None:
    about_one: list[Example] = [Span(f"q{n}", "the only context", (), ()) for n in range(20)]
    train, held_out = split(located(about_one), 0.2, seed=0)
    assert (len(train), len(held_out)) == (20, 0)


def test_one_picture_under_two_names_is_the_same_example(tmp_path: Path) -> None:
    for name, shown in (("a", b"sea"), ("b", b"sea"), ("c", b"hill"), ("d", b"sky")):
        (tmp_path / name).write_bytes(shown)
    a, b, c, d = (LabelledImage(tmp_path / name, "x") for name in "abcd")
    result = find_repetitions(located([a, b, c]), located([LabelledImage(d.path, "y")]))
    assert result.exact == (("a.jsonl:0", "a.jsonl:1"),)
    rows = [{"image": each, "label": "xy"[each == "d"]} for each in "abcd"]
    train, held_out = tmp_path / "train.jsonl", tmp_path / "held.jsonl"
    train.write_text("".join(json.dumps(each) + "\n" for each in rows[1:]))
    held_out.write_text(json.dumps(rows[0]) + "\n")
    recipe = make_recipe({"task": "image", "data": train, "held_out": held_out})
    data = read_data(recipe, (LabelledImage,))
    [removed] = data.removed
    assert [Path(where).name for where in (removed.where, removed.held_out_where)] == [
        "train.jsonl:1",
        "held.jsonl:1",
    ]
    (tmp_path / "c").write_bytes(b"valley")
    assert read_data(recipe, (LabelledImage,)).digest != data.digest


def test_an_image_that_cannot_be_read_is_told_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    missing = [LabelledImage(tmp_path / name, "x") for name in ("folder", "none")]
    assert [each.identity for each in missing] == [(str(each.path), "x") for each in missing]
