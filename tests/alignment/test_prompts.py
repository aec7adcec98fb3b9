"""Prompts from any data set that has some."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from training.small_models import write_model

from moli.alignment.prompts import Prompts, read_prompts
from moli.models.tokenizers import load_tokenizer
from moli.records.errors import InputError
from moli.training.recipes.recipe import make_recipe

TURNS = [
    {"role": "user", "content": "w1"},
    {"role": "assistant", "content": "w2"},
    {"role": "user", "content": "w3"},
]


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory: pytest.TempPathFactory) -> Any:
    return load_tokenizer(write_model(tmp_path_factory.mktemp("model"), "llama"))


def prompts_of(
    folder: Path,
    tokenizer: Any,
    rows: Sequence[Any],
    *,
    held_out: float = 0,
    longest: int = 50,
    columns: Mapping[str, str] | None = None,
) -> Prompts:
    path = folder / "rows.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    values = {"task": "instruction", "base": "base", "data": path, "columns": columns or {}}
    recipe = make_recipe(values)
    return read_prompts(recipe, tokenizer, max_length=longest, held_out=held_out)


@pytest.mark.parametrize(
    ("row", "turns", "reference"),
    [
        ({"prompt": "w1"}, ["w1"], ""),
        ({"question": "w1", "answer": "w2 #### 42"}, ["w1"], "w2 #### 42"),
        ({"instruction": "w1"}, ["w1"], ""),
        ({"messages": TURNS}, ["w1", "w2", "w3"], ""),
        ({"messages": [*TURNS, {"role": "assistant", "content": "w4"}]}, ["w1", "w2", "w3"], "w4"),
        ({"prompt": TURNS}, ["w1", "w2", "w3"], ""),
        ({"prompt": "w1", "chosen": "w2", "rejected": "w3"}, ["w1"], ""),
        ({"prompt": "w1", "completion": "w2", "label": True}, ["w1"], ""),
    ],
)
def test_a_prompt_is_all_before_the_answer(
    tmp_path: Path, tokenizer: Any, row: Any, turns: list[str], reference: str
) -> None:
    [prompt] = prompts_of(tmp_path, tokenizer, [row]).train
    assert [message.content for message in prompt.messages] == turns
    assert prompt.reference == reference
    assert tokenizer.decode(prompt.ids).endswith("[UNK]")  # "assistant", which begins the answer


def test_a_text_is_continued_as_it_is(tmp_path: Path, tokenizer: Any) -> None:
    [prompt] = prompts_of(tmp_path, tokenizer, [{"text": "w1 w2"}]).train
    assert prompt.ids == tuple(tokenizer("w1 w2")["input_ids"])


@pytest.mark.parametrize(
    ("row", "is_unsafe"),
    [
        ({"prompt": "w1", "chosen": "w2", "rejected": "w3", "prompt_is_unsafe": True}, True),
        ({"prompt": "w1", "prompt_is_unsafe": True}, True),
        ({"prompt": "w1", "prompt_is_unsafe": "safe"}, False),
        ({"messages": [{"role": "user", "content": "w1"}], "is_safety": 1}, True),
        ({"text": "w1", "prompt_unsafe": "yes"}, True),
        ({"prompt": "w1", "completion": "w2", "label": True, "prompt_unsafe": 1}, True),
        ({"prompt": "w1"}, False),
    ],
)
def test_a_tag_of_an_unsafe_prompt_is_kept_in_every_layout(
    tmp_path: Path, tokenizer: Any, row: dict[str, Any], is_unsafe: bool
) -> None:
    assert prompts_of(tmp_path, tokenizer, [row]).train[0].is_unsafe == is_unsafe


def test_a_tag_that_is_neither_yes_nor_no_is_an_error(tmp_path: Path, tokenizer: Any) -> None:
    with pytest.raises(InputError, match="neither yes nor no") as error:
        prompts_of(tmp_path, tokenizer, [{"prompt": "w1", "prompt_is_unsafe": "perhaps"}])
    assert error.value.where.endswith(":1")


def test_prompts_are_counted_once_and_held_out_apart(tmp_path: Path, tokenizer: Any) -> None:
    rows = [{"prompt": f"w{n % 10}"} for n in range(20)] + [{"prompt": "w1 " * 60}]
    prompts = prompts_of(tmp_path, tokenizer, rows, held_out=3)
    assert prompts.facts == {
        "rows": 21, "malformed": 0, "unread": 0, "prompts": 7, "held_out": 3, "repeated": 10,
        "too_long": 1,
    }  # fmt: skip
    assert len({*prompts.train, *prompts.held_out}) == 10
    again = prompts_of(tmp_path, tokenizer, rows, held_out=3)
    assert again == prompts


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": " "},
        {"question": "\u200b", "answer": "w2"},
        {"messages": [{"role": "assistant", "content": "w4"}]},
        {"system": "w1", "prompt": "", "chosen": "w2", "rejected": "w3"},
    ],
)
def test_nothing_is_no_prompt(tmp_path: Path, tokenizer: Any, row: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"(?s)rows\.jsonl:1: .*empty.*Correct or remove them"):
        prompts_of(tmp_path, tokenizer, [row])
    many = [{"prompt": f"w{number} w{other}"} for number in range(15) for other in range(9)]
    prompts = prompts_of(tmp_path, tokenizer, [*many, {"prompt": ""}])
    assert prompts.facts["prompts"] == 135 and prompts.facts["malformed"] == 1
    [malformed] = prompts.malformed
    assert malformed.where.endswith("rows.jsonl:136") and malformed.fix


def test_each_file_has_its_own_format(tmp_path: Path, tokenizer: Any) -> None:
    rows: list[dict[str, Any]] = [
        {"prompt": "w1"},
        {"chosen": TURNS[:2], "rejected": [TURNS[0], {"role": "assistant", "content": "w9"}]},
        {"messages": TURNS},
        {"text": "w7"},
        {"提问": "w8"},
    ]
    for number, row in enumerate(rows):
        (tmp_path / f"{number}.jsonl").write_text(json.dumps(row))
    values = {"task": "instruction", "base": "base", "columns": {"prompt": "提问"}}
    recipe = make_recipe({**values, "data": [tmp_path / f"{n}.jsonl" for n in range(5)]})
    prompts = read_prompts(recipe, tokenizer, max_length=50, held_out=0)
    asked = [[message.content for message in prompt.messages] for prompt in prompts.train]
    assert asked == [["w1"], ["w1", "w2", "w3"], ["w7"], ["w8"]]  # w1 stands twice
    assert prompts.facts["repeated"] == 1
    (tmp_path / "3.jsonl").write_text('{"height": 3}')
    with pytest.raises(InputError, match=r"3\.jsonl: columns height have no prompt"):
        read_prompts(recipe, tokenizer, max_length=50, held_out=0)


@pytest.mark.parametrize(
    ("row", "columns"),
    [
        ({"提问": "w1"}, {"prompt": "提问"}),
        ({"问题": "w1", "答案": "w2"}, {"prompt": "问题", "completion": "答案"}),
        ({"用户": "w1", "编号": "3"}, {"prompt": "用户"}),
        ({"user_request": "w1"}, {"prompt": "user_request"}),
        ({"对话": TURNS}, {"messages": "对话"}),
    ],
)
def test_other_names_of_columns_are_suggested_and_read(
    tmp_path: Path, tokenizer: Any, row: dict[str, Any], columns: dict[str, str]
) -> None:
    with pytest.raises(InputError, match="have no prompt") as caught:
        prompts_of(tmp_path, tokenizer, [row])
    line = re.search(r"`(.*)`", caught.value.fix)
    assert line and yaml.safe_load(line[1]) == {"columns": columns}
    [prompt] = prompts_of(tmp_path, tokenizer, [row], columns=columns).train
    assert prompt.messages[0].content == "w1"
    assert prompt.reference == ("w2" if "completion" in columns else "")
    with pytest.raises(InputError, match="no row has the column 'nothing'"):
        prompts_of(tmp_path, tokenizer, [row], columns={"prompt": "nothing"})


def test_data_without_prompts_are_refused(tmp_path: Path, tokenizer: Any) -> None:
    with pytest.raises(InputError, match=r"columns height have no prompt.*Rename them"):
        prompts_of(tmp_path, tokenizer, [{"height": 3}])
    with pytest.raises(InputError, match="none of 1 prompts has at most 2 tokens"):
        prompts_of(tmp_path, tokenizer, [{"prompt": "w1 w2 w3"}], longest=2)
    with pytest.raises(InputError, match="only 1 different prompts"):
        prompts_of(tmp_path, tokenizer, [{"prompt": "w1"}], held_out=1)
