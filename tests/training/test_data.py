from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest

from moli.records.errors import InputError
from moli.records.examples import (
    Conversation,
    Example,
    Labelled,
    LabelledImage,
    LocatedExample,
    Match,
    Span,
    Text,
)
from moli.training.checks.inspection import find_repetitions
from moli.training.data import read_data, split
from moli.training.recipes.recipe import make_recipe, read_recipe
from moli.workspace.datasets import read_dataset
from moli.workspace.datasets.labels import describe_similar


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


def test_a_number_of_examples_is_held_out() -> None:
    examples: list[Example] = [Labelled(f"t{number}", "ab"[number % 2]) for number in range(40)]
    for number in (1, 5, 38):
        train, held_out = split(located(examples), number, seed=1)
        assert (len(train), len(held_out)) == (40 - number, number)
    with pytest.raises(InputError, match="'held_out' is 40, but there are only 40 different"):
        split(located(examples), 40, seed=1)


def test_a_number_to_hold_out_is_not_limited() -> None:
    examples: list[Example] = [Text(f"t{number}") for number in range(5000)]
    assert [len(split(located(examples), each, seed=0)[1]) for each in (0.5, 2500)] == [2000, 2500]


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


def classes(part: tuple[LocatedExample, ...]) -> Counter[str | None]:
    return Counter(each.example.class_label for each in part)


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_no_class_is_held_out_alone(share: float) -> None:
    """A class with a single row stays in training, whatever the seed."""
    rows: list[Example] = [Labelled(f"text {n}", "ab"[n % 2]) for n in range(60)]
    rows += [Labelled("text 60", "c"), Labelled("text 61", "d"), Labelled("text 62", "d")]
    for seed in range(200):
        train, held_out = split(located(rows), share, seed)
        assert classes(train).keys() == set("abcd")
        assert classes(held_out).keys() <= set("abd")
        assert len(held_out) == round(share * len(rows))


def test_a_class_whose_rows_all_share_a_text_stays_in_training() -> None:
    rows: list[Example] = [Labelled(f"text {n % 20}", "ab"[n // 20]) for n in range(40)]
    rows += [Labelled("text 3", "c")]
    for seed in range(200):
        train, _ = split(located(rows), 0.2, seed)
        assert classes(train).keys() == set("abc")


@pytest.mark.parametrize("share", [0.05, 0.2])
def test_each_class_has_its_share_of_both_parts(share: float) -> None:
    sizes = {"a": 400, "b": 100, "c": 20}
    rows: list[Example] = [
        Labelled(f"{label} {n}", label) for label, size in sizes.items() for n in range(size)
    ]
    for seed in range(200):
        _, held_out = split(located(rows), share, seed)
        for label, size in sizes.items():
            assert abs(classes(held_out)[label] - share * size) <= 1.5


def test_data_that_are_all_held_out_are_told(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text("".join(f'{{"text": "t{n}", "label": "{n % 2}"}}\n' for n in range(8)))
    recipe = make_recipe({"task": "classification", "data": path, "held_out": path})
    with pytest.raises(InputError) as caught:
        read_data(recipe, (Labelled,))
    assert "all 8 are held out as well" in caught.value.what
    assert f"than {path}" in caught.value.fix


def test_a_file_with_splits_has_its_own_held_out_examples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Path] = []

    def read(path: Path) -> str:
        opened.append(path)
        return path.read_text()

    monkeypatch.setattr("moli.workspace.datasets.rows.read_text_file", read)
    path = tmp_path / "all.json"
    rows = {
        "train": [{"text": f"t{n}", "label": "a"} for n in range(6)],
        "test": [{"text": "u", "label": "a"}],
        "validation": {"text": ["v", "w"], "label": ["a", "b"]},
    }
    path.write_text(json.dumps(rows))
    data = read_data(make_recipe({"task": "classification", "data": path}), (Labelled,))
    assert opened == [path]  # and parsed, once for both parts
    assert [located.where for located in data.train][:2] == [
        f"{path} train row 1",
        f"{path} train row 2",
    ]
    assert [located.example for located in data.held_out] == [
        Labelled("v", "a"),
        Labelled("w", "b"),
    ]
    assert (data.rows, data.unread_splits) == (8, ("test",))
    recipe = make_recipe({"task": "classification", "data": path, "held_out": 0})
    assert read_data(recipe, (Labelled,)).unread_splits == ("test", "validation")
    [last] = read_dataset(path, part="test").examples
    assert last.example == Labelled("u", "a")
    assert len(read_dataset(path).examples) == 9


def test_several_files_and_patterns_are_one_data_set(tmp_path: Path) -> None:
    for name in ("one", "two", "three"):
        (tmp_path / f"{name}.jsonl").write_text(f'{{"text": "{name}", "label": "a"}}\n')
    (tmp_path / "recipe.yaml").write_text(
        "task: classification\ndata: [two.jsonl, one.jsonl]\nheld_out: 't*.jsonl'\n"
    )
    data = read_data(read_recipe(tmp_path / "recipe.yaml"), (Labelled,))
    assert [located.example.model_input for located in data.train] == ["one"]
    assert [located.example.model_input for located in data.held_out] == ["three", "two"]
    assert [Path(each.held_out_where).name for each in data.removed] == ["two.jsonl:1"]
    assert data.rows == 4
    with pytest.raises(InputError, match="no file fits this pattern"):
        read_dataset(tmp_path / "*.csv")


def test_columns_that_are_not_read_are_known(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"id": 1, "Text": "t", "label": "a"}\n{"text": "u", "label": "b", "A": ""}\n')
    recipe = make_recipe({"task": "classification", "data": path, "held_out": 0})
    assert read_data(recipe, (Labelled,)).unused == ("id", "A")


def test_labels_that_a_reader_takes_for_one_are_told() -> None:
    labels = ["good", "Good", "go od", "\uff47ood", "bad", "+1", "-1", "C++", "C"]
    assert describe_similar(labels).endswith("form: 'good' = 'Good' = 'go od' = '\uff47ood'")
    assert describe_similar(["a", "b"]) == ""


def test_a_recipe_names_the_roles_of_both_parts(tmp_path: Path) -> None:
    for name in ("a", "b"):
        turns = [{"role": "路人", "content": f"{name}?"}, {"role": "店主", "content": name}]
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"messages": turns}))
    text = "task: instruction\ndata: a.jsonl\nheld_out: b.jsonl\n"
    (tmp_path / "recipe.yaml").write_text(text + "roles: {user: 路人, assistant: 店主}\n")
    data = read_data(read_recipe(tmp_path / "recipe.yaml"), (Conversation,))
    assert [each.example.model_input for each in (*data.train, *data.held_out)] == [
        "user: a?",
        "user: b?",
    ]
    (tmp_path / "recipe.yaml").write_text(text)
    with pytest.raises(InputError, match=r"`roles: \{user: 路人, assistant: 店主\}`"):
        read_data(read_recipe(tmp_path / "recipe.yaml"), (Conversation,))
