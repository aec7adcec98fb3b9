from __future__ import annotations

from pathlib import Path

import pytest

from moli.records.examples import Labelled
from moli.training.recipes.recipe import make_recipe
from moli.training.setup.label_defaults import choose_base, choose_epochs, with_label_defaults


@pytest.mark.parametrize(
    ("text", "base"),
    [("It came broken.", "builtin:minilm"), ("Größe, naïve, señor", "builtin:minilm"),
     ("房间很脏", "builtin:ngrams"), ("部屋はきれい", "builtin:ngrams"),
     ("방이 더러워요", "builtin:ngrams"),
     ("Комната грязная", "builtin:ngrams"), ("iPhone 很好用，屏幕也大", "builtin:ngrams"),
     ("The Greek letters α and β", "builtin:minilm"), ("12:30!", "builtin:minilm")],
)  # fmt: skip
def test_the_base_reads_the_script(text: str, base: str) -> None:
    assert choose_base([text]) == base


def test_an_encoder_of_other_languages_is_the_base_where_it_is_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MOLI_MODELS", str(tmp_path))
    examples = [Labelled("房间很脏", "0"), Labelled("很好", "1")]
    values = {"task": "classification", "data": "x"}
    (tmp_path / "e5").mkdir()
    assert choose_base(["房间很脏"]) == "builtin:ngrams"  # it is not whole without its record
    (tmp_path / "e5" / "origin.json").write_text("{}")
    assert choose_base(["房间很脏"]) == "e5"
    assert choose_base(["It came broken."]) == "builtin:minilm"
    derived = with_label_defaults(make_recipe(values), examples)
    assert (derived.base, derived.method, derived.epochs) == ("e5", "lora", 10)
    whole = with_label_defaults(make_recipe({**values, "method": "full"}), examples)
    assert (whole.base, whole.method) == ("e5", "full")


def test_fewer_examples_of_a_class_take_more_epochs() -> None:
    assert [
        choose_epochs(rows, classes) for rows, classes in ((2000, 77), (1000, 6), (1000, 2))
    ] == [
        10,
        5,
        3,
    ]
    assert choose_epochs(25_000, 2) == choose_epochs(5_000, 2) == 1
    assert choose_epochs(3, 3) == 10


def test_what_a_recipe_says_is_kept() -> None:
    examples = [Labelled("房间很脏", "0"), Labelled("很好", "1")]
    values = {"task": "classification", "data": "x", "base": "org/name", "epochs": 2, "patience": 0}
    kept = with_label_defaults(make_recipe(values), examples)
    assert (kept.base, kept.epochs, kept.patience) == ("org/name", 2, 0)
    derived = with_label_defaults(make_recipe({"task": "classification", "data": "x"}), examples)
    assert derived.base == "builtin:ngrams"
