from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
import yaml

from moli.records.errors import InputError, ModelError
from moli.training.recipes.method_table import METHODS, MethodName, find_method
from moli.training.recipes.recipe import Recipe, make_recipe, read_recipe
from moli.training.recipes.task_table import TASKS, TaskName

AMOUNTS = "must be a share from 0 to below 1, a whole number of rows, or files"
LEAST = "task: classification\ndata: rows.jsonl\n"


def write(folder: Path, text: str | bytes) -> Path:
    path = folder / "recipe.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_a_recipe_has_few_keys_and_each_says_what_it_is() -> None:
    assert len(Recipe.model_fields) <= 24
    assert all(each.description for each in Recipe.model_fields.values())


def test_two_keys_are_enough(tmp_path: Path) -> None:
    recipe = read_recipe(write(tmp_path, LEAST))
    assert (recipe.task, recipe.data) == ("classification", tmp_path / "rows.jsonl")
    assert recipe.learning_rate is None


def test_paths_are_relative_to_the_recipe_and_changes_to_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = tmp_path / "here"
    (here / "base").mkdir(parents=True)
    (tmp_path / "model").mkdir()
    monkeypatch.chdir(here)
    path = write(tmp_path, LEAST + "base: model\nheld_out: judged.jsonl\n")
    read = read_recipe(path)
    assert (read.base, read.held_out) == (str(tmp_path / "model"), tmp_path / "judged.jsonl")
    changed = read_recipe(path, {"data": "mine.jsonl", "base": "base", "held_out": 0.5})
    assert (changed.data, changed.base) == (here / "mine.jsonl", str(here / "base"))
    assert changed.held_out == 0.5


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("epoch", "epochs"), ("learning-rate", "learning_rate"), ("batch_size", "batch"),
     ("maxlength", "max_length"), ("heldout", "held_out"), ("Task", "task"), ("lr_rank", "rank"),
     ("lr", "learning_rate"), ("dataset", "data"), ("model", "base"), ("lora_r", "rank")],
)  # fmt: skip
def test_an_unknown_key_is_refused_with_the_nearest_one(typed: str, meant: str) -> None:
    with pytest.raises(InputError) as caught:
        make_recipe({"task": "classification", "data": "a", typed: 1}, where="recipe.yaml")
    assert str(caught.value) == f"recipe.yaml: unknown key '{typed}'. Did you mean '{meant}'?"


def test_an_option_among_the_keys_is_said_to_be_one() -> None:
    values = {"task": "dpo", "data": "a", "options": {"label_smoothing": 0.1}, "beta": 0.3}
    with pytest.raises(InputError, match="It is an option") as caught:
        make_recipe(values)
    assert "`options: {label_smoothing: 0.1, beta: 0.3}`" in caught.value.fix


def test_an_unknown_key_like_no_other_is_refused_with_all_keys() -> None:
    with pytest.raises(InputError, match=r"unknown key 'xyzzy'\. Keys: task, base, data") as caught:
        make_recipe({"xyzzy": 1})
    assert "trackers, name" in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [("task", "chat"), ("method", "loha"), ("rank", 0), ("rank", "many"), ("epochs", -1),
     ("epochs", float("inf")), ("learning_rate", float("nan")), ("seed", 1 << 63),
     ("batch", -1), ("learning_rate", "fast"), ("max_length", 3), ("dropout", 1),
     ("optimizer", "sgd"), ("precision", "fp16"), ("seed", -1), ("patience", -1),
     ("trackers", ["print"]), ("held_out", 5.5), ("held_out", -1), ("held_out", True)],
)  # fmt: skip
def test_a_bad_value_is_told_with_the_meaning_of_its_key(key: str, value: object) -> None:
    with pytest.raises(InputError) as caught:
        make_recipe({"task": "classification", "data": "a", key: value}, where="recipe.yaml")
    message = str(caught.value)
    assert message.startswith(f"recipe.yaml: '{key}' is ")
    assert f"{key}: {Recipe.model_fields[key].description}." in message


@pytest.mark.parametrize(
    ("key", "value", "problem", "fix"),
    [
        ("batch", "many", "'batch' is 'many': must be a whole number", "batch: "),
        ("batch", 1.5, "'batch' is 1.5: must be a whole number", "batch: "),
        ("learning_rate", "fast", "'learning_rate' is 'fast': must be a number", "learning_rate: "),
        (
            "precision",
            "fp16",
            "'precision' is 'fp16': must be one of 'bf16', 'fp32'",
            "precision: ",
        ),
        ("dropout", 1, "'dropout' is 1: must be less than 1.0", "dropout: "),
        ("data", {"train": "a"}, "'data' is {'train': 'a'}: must be a path or a list", "data: "),
        ("held_out", 5.5, f"'held_out' is 5.5: {AMOUNTS}", "held_out: "),
        ("held_out", -1, f"'held_out' is -1: {AMOUNTS}", "held_out: "),
        ("trackers", "wandb", "'trackers' is 'wandb': must be a list", "trackers: "),
        ("shape", {"layers": "two"}, "'shape.layers' is 'two': must be a whole number", "shape: "),
        ("shape", 3, "'shape' is a number, not a mapping",
         "Write it as `shape: {hidden: 256, layers: 4, heads: 4}`."),
        ("columns", ["body", "topic"], "'columns' is a list, not a mapping",
         "Write it as `columns: {text: body, label: topic}`."),
        ("columns", "body", "'columns' is text, not a mapping",
         "Write it as `columns: {text: body, label: topic}`."),
        ("roles", ["客户"], "'roles' is a list, not a mapping",
         "Write it as `roles: {user: 客户, assistant: 客服}`."),
        ("roles", {"店主": "assistant"}, "'roles' has '店主', which is no role",
         "Write the role first: `roles: {assistant: 店主}`."),
        ("roles", {"owner": "店主"}, "'roles' has 'owner', which is no role",
         "There are: system, user, assistant, tool."),
    ],
)  # fmt: skip
def test_a_value_that_cannot_be_used_is_told_in_plain_words(
    key: str, value: object, problem: str, fix: str
) -> None:
    with pytest.raises(InputError) as caught:
        make_recipe({"task": "classification", "data": "a", key: value}, where="recipe.yaml")
    assert (caught.value.what, caught.value.where) == (problem, "recipe.yaml")
    assert caught.value.fix.startswith(fix)


def test_a_recipe_lists_names_for_each_role() -> None:
    values = {"task": "instruction", "data": "a", "roles": {"user": ["甲", 0], "assistant": "乙"}}
    assert make_recipe(values).roles == {"user": ("甲", "0"), "assistant": ("乙",)}


@pytest.mark.parametrize(
    ("value", "meant"),
    [(5, 5), (1, 1), (0, 0), (False, 0), (0.25, 0.25), ("20%", 0.2), ("b.csv", Path("b.csv"))],
)
def test_examples_are_held_out_by_share_number_or_file(value: object, meant: object) -> None:
    recipe = make_recipe({"task": "classification", "data": "a", "held_out": value})
    assert recipe.held_out == meant
    assert (recipe.held_out_paths is None) == (not isinstance(meant, Path))
    again = make_recipe(recipe.model_dump(mode="json"))  # as a run keeps it
    assert again.held_out == meant


def test_a_share_in_percent_may_be_a_change(tmp_path: Path) -> None:
    assert read_recipe(write(tmp_path, LEAST), {"held_out": "20%"}).held_out == 0.2


@pytest.mark.parametrize("key", ["task", "data"])
def test_a_missing_key_is_told(key: str) -> None:
    values = {"task": "classification", "data": "a"}
    del values[key]
    with pytest.raises(InputError, match=f"'{key}' is missing"):
        make_recipe(values)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("task: classification\ndata: [a, b\n", r"recipe\.yaml:3: not YAML"),
        ("task: classification\n\tdata: a\n", r"recipe\.yaml:2: not YAML"),
        ("task: a: b\n", r"recipe\.yaml:1: not YAML"),
        ("just words\n", r"recipe\.yaml: not a recipe"),
        ("- task\n", r"recipe\.yaml: not a recipe"),
        ("", r"recipe\.yaml: not a recipe"),
        (b"task: caf\xe9\n", r"recipe\.yaml:1: not UTF-8"),
        ("task: x\ndata: 甲.csv\n".encode("gbk"), "iconv -f GB18030"),
        ("task：x\ndata：a.csv\n", "Line 1: write 'task: ' with a colon of ASCII"),
        ("task: x\ndata：a.csv\n", "Line 2: write 'data: ' with a colon of ASCII"),
    ],
)
def test_what_is_no_recipe_is_told_by_file_and_line(
    tmp_path: Path, text: str | bytes, problem: str
) -> None:
    with pytest.raises(InputError, match=problem) as caught:
        read_recipe(write(tmp_path, text))
    assert caught.value.fix


def test_a_recipe_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no\.yaml: cannot be read"):
        read_recipe(tmp_path / "no.yaml")


def test_a_number_may_be_written_with_an_exponent(tmp_path: Path) -> None:
    # YAML 1.1 takes 1e-4 for a text, as it lacks a point.
    assert read_recipe(write(tmp_path, LEAST + "learning_rate: 1e-4\n")).learning_rate == 1e-4


def test_a_base_is_derived_from_the_task() -> None:
    def base(task: str) -> str:
        return make_recipe({"task": task, "data": "x"}).base

    assert base("pretraining") == base("image") == base("seq2seq") == "new"
    assert base("embedding") == base("span") == "builtin:minilm"
    assert base("classification") == ""  # by the language of the texts


@pytest.mark.parametrize("name", ["Tickets", "two words", "票"])
def test_a_name_that_is_no_alias_is_refused_before_anything_is_trained(name: str) -> None:
    with pytest.raises(InputError, match="is not a valid alias"):
        make_recipe({"task": "classification", "data": "x", "name": name})


def test_the_table_of_tasks_has_those_that_a_recipe_may_name() -> None:
    assert set(TASKS) == set(get_args(TaskName))


def test_the_table_of_methods_has_those_that_a_recipe_may_name() -> None:
    assert set(METHODS) == set(get_args(MethodName))


def test_a_method_of_a_newer_version_is_named() -> None:
    assert find_method("lora") is METHODS["lora"]
    with pytest.raises(ModelError, match="trained with 'loha'"):
        find_method("loha")


def test_the_home_folder_may_be_written_as_a_tilde(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "base").mkdir()
    values = {"task": "classification", "base": "~/base", "held_out": ["~/b.csv", "c.csv"]}
    path = write(tmp_path, f"{yaml.safe_dump(values)}data: ~/a.csv\n")
    recipes = [
        read_recipe(path),
        read_recipe(path, {"data": "~/a.csv", "held_out": ["~/b.csv", str(tmp_path / "c.csv")]}),
        make_recipe(values | {"data": "~/a.csv", "held_out": ["~/b.csv", str(tmp_path / "c.csv")]}),
    ]
    for recipe in recipes:
        assert recipe.data == tmp_path / "a.csv"
        assert recipe.held_out == (tmp_path / "b.csv", tmp_path / "c.csv")
        assert recipe.base == str(tmp_path / "base")
