"""Turns that the data leave out of the loss."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from moli.records.examples import Conversation
from moli.workspace.datasets import Dataset, read_dataset


def read(path: Path, column: str, turns: list[dict[str, Any]]) -> Dataset:
    path.write_text(json.dumps({column: turns}) + "\n", encoding="utf-8")
    return read_dataset(path)


def supervised(dataset: Dataset) -> list[bool]:
    """Whether each of the assistant's turns counts in the loss."""
    (located,) = dataset.examples
    assert isinstance(located.example, Conversation)
    messages = located.example.messages
    return [each.supervised for each in messages if each.role == "assistant"]


@pytest.mark.parametrize("key", ["weight", "loss", "loss_scale", "train", "training"])
@pytest.mark.parametrize(
    ("value", "expected"),
    [
        *((value, False) for value in (0, 0.0, False, "0", "False")),
        *((value, True) for value in (1, 1.0, True, "true", None)),
    ],
)
def test_a_turn_may_be_left_out_of_the_loss(
    key: str, value: Any, expected: bool, tmp_path: Path
) -> None:
    openai = [
        {"role": "user", "content": "Is it on?"},
        {"role": "assistant", "content": "Go away.", key: value},
        {"role": "user", "content": "Please."},
        {"role": "assistant", "content": "It is on."},
    ]
    sharegpt = [
        {"from": "human", "value": "Is it on?", key: None},
        {"from": "gpt", "value": "Go away.", key: value},
        {"from": "human", "value": "Please."},
        {"from": "gpt", "value": "It is on.", key: True},
    ]
    path = tmp_path / "rows.jsonl"
    assert supervised(read(path, "messages", openai)) == [expected, True]
    assert supervised(read(path, "conversations", sharegpt)) == [expected, True]


def test_a_turn_with_calls_may_be_left_out_too(tmp_path: Path) -> None:
    tool = {"name": "look", "parameters": {"type": "object", "properties": {}}}
    turns = [
        {"from": "human", "value": "Is it on?"},
        {"from": "function_call", "value": '{"name": "look", "arguments": {}}', "loss": False},
        {"from": "observation", "value": "on"},
        {"from": "gpt", "value": "It is on.", "loss": True},
    ]
    path = tmp_path / "rows.jsonl"
    path.write_text(json.dumps({"conversations": turns, "tools": [tool]}), encoding="utf-8")
    assert supervised(read_dataset(path)) == [False, True]


@pytest.mark.parametrize("value", [0.5, -1, 2, "some", [1]])
def test_a_weight_in_between_is_refused(value: Any, tmp_path: Path) -> None:
    turns = [
        {"role": "user", "content": "Is it on?"},
        {"role": "assistant", "content": "It is on.", "weight": value},
    ]
    (row,) = read(tmp_path / "rows.jsonl", "messages", turns).malformed
    assert row.what.startswith("'messages[1]' has 'weight': ")
    assert row.fix == "Write 1 to learn the turn, or 0 to leave it out of the loss."
