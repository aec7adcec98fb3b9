from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from moli.records.errors import InputError
from moli.training.recipes.recipe import make_recipe, read_recipe
from moli.training.recipes.yaml_values import load_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [("no", "no"), ("Yes", "Yes"), ("on", "on"), ("true", True), ("False", False), ("~", None),
     ("", None), ("1e-4", 1e-4), ("2.5", 2.5), (".5", 0.5), ("010", 10), ("-3", -3),
     ("1:30", "1:30"), ("2024-01-01", "2024-01-01"), ("'no'", "no"), ("{x: off}", {"x": "off"}),
     ("[1, a]", [1, "a"])],
)  # fmt: skip
def test_a_value_is_what_it_looks_like(text: str, value: Any) -> None:
    assert load_yaml(f"key: {text}\n", "a.yaml") == {"key": value}


@pytest.mark.parametrize(
    ("text", "line", "fix"),
    [
        ("epochs: 1\ndata: a\nepochs: 2\n", 3, "Keep one of the two."),
        ("columns: {text: a, text: b}\n", 1, "Keep one of the two."),
        ("task: x\ndata: *.jsonl\n", 2, "Put a text that begins with * in quotes."),
        ("columns:\n\ttext: a\n", 2, "Indent with spaces, not with tabs."),
        ('data: "C:\\data"\n', 1, "Write paths with backslashes in single quotes"),
        ("name: a: b\n", 1, "Put a text with a colon and a space in quotes."),
    ],
)
def test_a_trap_is_told_with_its_line_and_the_way_out(text: str, line: int, fix: str) -> None:
    with pytest.raises(InputError) as caught:
        load_yaml(text, "a.yaml")
    assert caught.value.where == f"a.yaml:{line}"
    assert caught.value.fix.startswith(fix)


def test_a_recipe_is_free_of_the_traps(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_bytes(
        b"\xef\xbb\xbftask: classification\ndata: rows.jsonl\nheld_out: 20%\nname: 2024\n"
        b"columns: {label: no, text: 1}\nepochs: ~\nlearning_rate: 2e-5\n"
    )
    recipe = read_recipe(path)
    assert (recipe.held_out, recipe.name, recipe.epochs) == (0.2, "2024", None)
    assert recipe.columns == {"label": "no", "text": "1"}
    assert recipe.learning_rate == 2e-5
    with pytest.raises(InputError, match="'data' is missing"):
        make_recipe({"task": "classification", "data": None})
